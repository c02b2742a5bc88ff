// The annotator's desk. The server renders every pair; this shows one, answers at once, and sends behind the scenes.

import { Marks } from "./annotate-pair-marks.js";
import { ANSWERS, Outbox } from "./annotate-pair-outbox.js";
import { Collapse } from "./annotate-pair-collapse.js";
import { CriterionLine } from "./annotate-pair-criterion.js";
import { EditLast } from "./annotate-pair-edit.js";
import { FlagSheet } from "./annotate-pair-flag.js";
import { Guide } from "./annotate-pair-guide.js";
import { Keys } from "./annotate-pair-keys.js";
import { Kept, Note } from "./annotate-pair-note.js";
import { ScrollTogether, placePrompt, showView } from "./annotate-pair-reading.js";
import { Reasons } from "./annotate-pair-reasons.js";
import { request } from "./annotate-pair-request.js";
import { showSaved } from "./annotate-pair-saved.js";
import { SkipSheet } from "./annotate-pair-skip.js";
import { Ranking } from "./annotate-rank.js";
import { Strength } from "./annotate-pair-strength.js";
import { Supply } from "./annotate-pair-supply.js";
import { ActiveTime } from "./annotate-pair-time.js";
import { countInRail, fill, wordsOf } from "./annotate-pair-words.js";

const KEEP = 10; // answers that can be taken back

export class AnnotatePair extends HTMLElement {
  connectedCallback() {
    this.stage = this.querySelector("[data-stage]");
    this.form = this.querySelector("[data-form]");
    this.words = wordsOf(this.querySelector("[data-words]"));
    this.kept = new Kept(this.dataset.key);
    this.note = new Note(this, this.kept);
    this.guide = new Guide(this, this.kept);
    this.makeParts();
    this.keys = new Keys(this, this.kept);
    this.supply = new Supply(this);
    this.time = new ActiveTime();
    this.skipSheet = new SkipSheet(this, (why) => this.vote("skip", why));
    this.collapse = new Collapse(this, this.kept);
    this.answered = []; // articles, latest last
    this.nStops = 0; // how often the server said that annotation is paused
    this.done = Number(this.dataset.done);
    this.total = Number(this.dataset.total);
    this.minutes = Number(this.dataset.minutes) || null;
    this.view = "text"; // text | raw | diff
    this.scrolls = new ScrollTogether();
    this.exhausted = !this.querySelector("[data-pair]");
    this.classList.add("is-scripted");
    this.outbox = new Outbox(this.dataset.key, (op) => this.post(op), (state, n) => showSaved(this, state, n));
    this.queue = [...this.stage.querySelectorAll("[data-pair]")];
    this.setAside();
    this.setLayout(this.kept.get("layout") ?? "side");
    this.listen();
    this.show();
    if (this.outbox.size) this.outbox.set("saving");
    this.outbox.flush();
    this.supply.start();
  }

  // What belongs to pairs and sets; a desk of another task has other parts (annotate-rate.js).
  makeParts() {
    Object.assign(this, { strength: new Strength(this), ranking: new Ranking(this), criterion: new CriterionLine(this) });
    Object.assign(this, { reasons: new Reasons(this, this.kept), flagSheet: new FlagSheet(this), editLast: new EditLast(this) });
    this.marks = new Marks(this, this.kept);
  }

  disconnectedCallback() {
    this.supply.stop();
    this.listening?.abort();
  }

  // Pairs answered before a reload whose answers are still on their way: not shown again.
  setAside() {
    for (const [assignment, kind] of this.outbox.pending()) {
      const article = this.queue.find((one) => one.dataset.assignment === assignment);
      if (article && ANSWERS.has(kind)) {
        this.queue.splice(this.queue.indexOf(article), 1);
        this.keep(article);
        this.done++;
      }
    }
  }

  listen() {
    this.listening = new AbortController();
    const on = (target, name, handler) => target.addEventListener(name, handler, { signal: this.listening.signal });
    this.collapse.listen(this.listening.signal);
    this.marks.listen(this.listening.signal);
    on(document, "keydown", (event) => this.onKey(event));
    on(this.form, "submit", (event) => {
      event.preventDefault();
      if (event.submitter?.value) this.answer(event.submitter.value);
    });
    on(this, "click", (event) => {
      const act = event.target.closest("[data-act]")?.dataset.act;
      if (!act) return;
      event.preventDefault();
      this.act(act);
    });
    this.stage.addEventListener("scroll", (event) => this.scrolls.follow(event.target, this.current), {
      capture: true,
      passive: true,
      signal: this.listening.signal,
    });
    on(this, "settext", (event) => this.current?.contains(event.target) && this.reshow());
    on(this.note.field, "input", () => this.note.keep());
    on(this.note.field, "keydown", (event) => event.key === "Escape" && this.closeNote());
    on(this.querySelector("[data-history]"), "toggle", () => this.loadHistory());
    on(window, "online", () => this.outbox.flush().then(() => this.supply.topUp()));
    on(window, "offline", () => this.outbox.set(this.outbox.size ? "offline" : "saved"));
    on(document, "visibilitychange", () => this.time.tick());
    on(window, "beforeunload", (event) => {
      if (this.outbox.isBroken && this.outbox.size) event.preventDefault();
    });
  }

  // --- keys --------------------------------------------------------------------------------------------------------

  onKey(event) {
    if (event.defaultPrevented || event.isComposing || event.keyCode === 229) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input:not([type=radio]), textarea, select, [contenteditable]")) return;
    if (document.querySelector("dialog[open]")) return;
    if (this.ranking.onKey(event) || this.marks.onKey(event)) return;
    const much = this.strength.saidBy(event);
    if (event.shiftKey && event.key.startsWith("Arrow") && !much) return;
    const said = much ?? this.keys.said(event);
    if (!said) return;
    event.preventDefault();
    if (event.repeat && said !== "undo") return;
    if (much || this.keys.isAnswer(said)) this.answer(said);
    else this.act(said);
  }

  act(name) {
    if (name === "undo") this.undo();
    if (name === "keys") this.keys.dialog.showModal();
    if (name === "close-keys") this.keys.dialog.close();
    if (name === "diff" || name === "raw") this.setView(this.view === name ? "text" : name);
    if (name === "layout") this.setLayout(this.classList.contains("is-stacked") ? "side" : "stacked", true);
    if (name === "guide") this.guide.toggle();
    if (name === "note") this.note.toggle();
    if (name === "reasons") this.reasons.open();
    if (name === "edit") this.editLast.open();
    if (name === "mark") this.marks.toggle();
    if (name === "flag") this.flagSheet.open();
    if (name === "expand") this.collapse.toggle();
  }

  // --- what is on the screen ---------------------------------------------------------------------------------------

  get current() {
    return this.queue[0] ?? null;
  }

  show() {
    const article = this.current;
    const hadFocus = this.shown && this.shown !== article && this.shown.contains(document.activeElement);
    const isGuideNew = this.shown !== article && this.guide.turn();
    if (this.ranking.isStale) {
      this.queue.shift().remove();
      this.supply.topUp();
      return this.show() || isGuideNew;
    }
    if (this.shown && this.shown !== article) this.shown.hidden = true;
    this.shown = article;
    if (article) this.kept.takeBack(article.dataset.assignment);
    this.strength.show();
    this.ranking.show();
    this.criterion.show();
    this.marks.show(article);
    this.toggle("[data-finished]", !article && this.exhausted);
    this.toggle("[data-waiting]", !article && !this.exhausted);
    if (article) this.form.hidden = false;
    for (const button of this.form.querySelectorAll("[name=choice]")) button.disabled = !article;
    this.showProgress();
    if (!article) {
      const words = this.querySelector("[data-finished-words]");
      if (words && this.done) words.textContent = fill(this.words.finishedAll, { n: this.done });
      const waiting = navigator.onLine ? this.words.loading : this.words.waitingOffline;
      this.querySelector("[data-waiting-words]").textContent = waiting;
      return isGuideNew;
    }
    article.hidden = false;
    for (const body of article.querySelectorAll("[data-scroll]")) body.scrollTop = 0;
    this.stage.scrollTop = 0;
    this.form.querySelector("[data-assignment-field]").value = article.dataset.assignment;
    this.form.querySelector("[data-guideline-field]").value = this.guide.version;
    this.note.show(article.dataset.assignment);
    this.reasons.show(article.dataset.assignment);
    this.reshow();
    this.time.start();
    if (hadFocus) article.focus({ preventScroll: true });
    if (isGuideNew) this.announce(fill(this.words.guideline, { version: this.guide.version }));
    return isGuideNew;
  }

  reshow() {
    this.marks.clear(this.current);
    showView(this.current, this.view);
    this.marks.draw();
    this.collapse.show(this.current);
    placePrompt(this.current);
  }

  toggleKeys(task) {
    for (const one of this.querySelectorAll("[data-when-task]")) one.hidden = one.dataset.whenTask !== task;
  }

  toggle(selector, shown) {
    this.querySelector(selector).hidden = !shown;
  }

  showProgress() {
    const parts = [fill(this.words.progress, { done: this.done, total: this.total })];
    if (this.minutes && this.done < this.total) parts.push(fill(this.words.minutes, { n: this.minutes }));
    this.progressText = parts[0];
    this.querySelector("[data-progress]").textContent = this.total ? parts.join(" · ") : "";
    const bar = this.querySelector("[data-bar]");
    bar.max = this.total || 1;
    bar.value = this.done;
    countInRail(this.total - this.done);
  }

  announce(text) {
    const announcer = document.getElementById("announcer");
    if (announcer) announcer.textContent = text;
  }

  notice(text) {
    const notice = this.querySelector("[data-notice]");
    notice.textContent = text;
    notice.hidden = !text;
  }

  // --- answering ---------------------------------------------------------------------------------------------------

  answer(choice) {
    if (!this.current) return;
    if (choice === "skip") this.skipSheet.open();
    else if (choice === "rank") this.ranking.send();
    else this.vote(choice);
  }

  vote(said, why = "") {
    if (!this.current) return;
    const answer = this.strength.parts(said);
    this.acknowledge(said);
    this.editLast.keep(this.current, answer.choice);
    this.send("vote", { ...answer, why, reasons: this.reasons.chosen.join("\n"), marks: this.marks.said }, this.words[this.strength.word(answer)]);
  }

  // The places of the answers on the screen, 1 for the best.
  rank(ranks) {
    this.send("rank", { ranks: ranks.join(","), reasons: this.reasons.chosen.join("\n") }, this.words.rank);
  }

  send(kind, answer, spoken) {
    const article = this.current;
    const assignment = article.dataset.assignment;
    const id = `${assignment}:${Date.now()}:${Math.random()}`;
    const op = {
      id,
      key: id, // the server stores what has one key once
      kind,
      assignment,
      ...answer,
      reason: this.note.text,
      seconds: this.time.seconds,
      guideline: this.guide.version,
      said_at: new Date().toISOString(),
      next: this.supply.takesOne ? 1 : "", // the reply brings the pair that takes this one's place
    };
    this.notice("");
    this.queue.shift();
    this.keep(article);
    this.done++;
    this.kept.give(assignment);
    this.closeNote();
    const isGuideNew = this.show();
    const next = this.current ? fill(this.words.next, { progress: this.progressText }) : "";
    if (!isGuideNew) this.announce(`${spoken}. ${next}`);
    this.outbox.push(op);
    this.supply.refill();
  }

  keep(article) {
    article.hidden = true;
    this.answered.push(article);
    for (const old of this.answered.splice(0, Math.max(0, this.answered.length - KEEP))) old.remove();
  }

  acknowledge(choice) {
    const button = this.form.querySelector(`button[value="${choice}"]`);
    button?.classList.add("is-chosen");
    setTimeout(() => button?.classList.remove("is-chosen"), 160);
  }

  // Annotation is paused: pairs that are not answered go back, and the page says why.
  stop(why) {
    this.nStops++;
    for (const article of this.queue.splice(0)) article.remove();
    this.exhausted = true;
    this.stopped(why);
    this.show();
    this.announce(why);
  }

  stopped(why) {
    const place = this.querySelector("[data-stopped]");
    place.textContent = why;
    place.hidden = !why;
    const done = this.querySelector("[data-all-done]");
    if (done) done.hidden = Boolean(why);
  }

  async undo() {
    const article = this.answered.pop();
    if (article) {
      const op = { kind: "undo", assignment: article.dataset.assignment };
      this.putBack(article);
      this.outbox.push({ id: `${op.assignment}:undo:${Date.now()}:${Math.random()}`, ...op });
      return;
    }
    await this.outbox.flush();
    if (!navigator.onLine || this.outbox.size) return this.notice(this.words.undoOffline);
    const reply = await this.request(this.dataset.undoUrl, {});
    if (reply.ok) this.putBack(this.supply.take(reply.body.html)[0]);
    else this.notice(reply.status === 400 ? reply.body?.detail || this.words.noUndo : this.words.undoOffline);
  }

  putBack(article) {
    const twin = this.queue.find((one) => one !== article && one.dataset.assignment === article.dataset.assignment);
    if (twin) {
      this.queue.splice(this.queue.indexOf(twin), 1);
      twin.remove();
    }
    this.notice("");
    this.queue.unshift(article);
    this.done = Math.max(0, this.done - 1);
    this.show();
    this.announce(this.words.back);
  }

  async post(op) {
    const url = this.dataset[`${op.kind}Url`];
    const reply = await this.request(url, op);
    if (reply.ok) {
      this.guide.hear(reply.body?.guide);
      this.minutes = reply.body?.progress?.minutes_left ?? this.minutes;
      if (reply.body?.stopped) this.stop(reply.body.stopped);
      const fresh = reply.body?.html ? this.supply.take(reply.body.html) : [];
      if (this.queue.push(...fresh) === fresh.length && fresh.length) this.show(); // it was waited for
      return "done";
    }
    if (reply.signedOut) return "signed-out";
    if (reply.status === 0 || reply.status === 429 || reply.status >= 500) return "later";
    // Nothing is dropped in silence: the person is told which answer the server would not take, and why.
    this.notice(fill(this.words.lost, { why: reply.body?.detail ?? reply.status }));
    return "refused";
  }

  request(url, values) {
    return request(url, values, this.form.querySelector("[name=csrfmiddlewaretoken]").value);
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  setView(view) {
    this.view = view;
    for (const name of ["diff", "raw"]) {
      this.querySelector(`button[data-act=${name}]`)?.setAttribute("aria-pressed", String(view === name));
    }
    if (this.current) this.reshow();
    if (view === "diff") this.announce(this.words.diffOn);
  }

  setLayout(layout, say = false) {
    this.classList.toggle("is-stacked", layout === "stacked");
    this.kept.set("layout", layout);
    if (say) this.announce(layout === "stacked" ? this.words.stacked : this.words.side);
  }

  closeNote() {
    if (this.note.close()) this.current?.focus({ preventScroll: true });
  }

  async loadHistory() {
    if (!this.querySelector("[data-history]").open) return;
    await this.outbox.flush();
    const response = await fetch(this.dataset.historyUrl, { redirect: "manual" }).catch(() => null);
    if (response?.ok) this.querySelector("[data-history-list]").innerHTML = await response.text();
  }
}

customElements.define("annotate-pair", AnnotatePair);
