// Passages of the answers that a person marks as good or bad, where the guideline on the screen asks: by selecting text,
// or from the keyboard (m), which moves the selection by sentences and words. Kept in the browser until the answer is
// given, and sent with it.

import { Passages, clearDrawn, toPoints } from "../passages.js";
import { fill } from "./annotate-pair-words.js";

const MOST = 40; // marks in a pair; the server takes no more
const SIDES = { left: ".side-a", right: ".side-b" };
const SETTLED = 180; // ms after which a selection is taken to be done
const NARROW = matchMedia("(width < 700px)");
const LONGEST_SAID = 80;

const overlap = (one, other) => one[0] < other[1] && other[0] < one[1];

export class Marks {
  constructor(desk, kept) {
    this.desk = desk;
    this.kept = kept;
    this.bar = desk.querySelector("[data-mark-bar]");
    this.list = []; // {side, span, kind, reason} of the pair on the screen
    this.isOn = false; // whether keys move the selection
    this.chosen = null; // {side, span}: what the bar is about
    this.held = {}; // of each side, its text on the screen as it was read last
  }

  listen(signal) {
    this.bar.addEventListener("mousedown", (event) => event.preventDefault()); // the selection stays
    this.bar.addEventListener("click", (event) => {
      const { mark, markReason } = event.target.closest("button")?.dataset ?? {};
      if (mark === "close") this.leave();
      else if (mark === "remove") this.remove();
      else if (mark) this.mark(mark);
      else if (markReason !== undefined) this.give(markReason);
    });
    document.addEventListener("selectionchange", () => this.isAsked && this.follow(), { signal });
    this.desk.stage.addEventListener("click", (event) => this.onClick(event), { signal });
  }

  get isAsked() {
    return "asksMarks" in this.desk.guide.place.dataset && !this.desk.ranking.isAsked;
  }

  // What is sent: offsets count code points of the answers' source; "" without a mark.
  get said() {
    if (!this.isAsked || !this.list.length) return "";
    return JSON.stringify(
      this.list.map(({ side, span, kind, reason }) => {
        const [start, end] = span.map((unit) => toPoints(this.source(side), unit));
        return { side, start, end, kind, reason };
      }),
    );
  }

  // --- the pair on the screen --------------------------------------------------------------------------------------

  // Called whenever a pair is shown: its guideline may be another one.
  show(article) {
    this.leave();
    this.article = article;
    this.held = {};
    for (const one of this.desk.querySelectorAll("[data-when-marks]")) one.hidden = !this.isAsked;
    this.list = this.isAsked && article ? this.read() : [];
    this.count();
  }

  read() {
    try {
      const kept = JSON.parse(this.kept.get(`marks:${this.article.dataset.assignment}`));
      return Array.isArray(kept) ? kept : [];
    } catch {
      return []; // what is kept is no list
    }
  }

  keep() {
    this.kept.set(`marks:${this.article.dataset.assignment}`, this.list.length ? JSON.stringify(this.list) : null);
    this.count();
    this.draw();
  }

  count() {
    for (const one of this.desk.querySelectorAll("[data-mark-count]")) one.textContent = this.list.length || "";
  }

  source(side) {
    return this.article.querySelector(`${SIDES[side]} [data-raw]`).textContent;
  }

  // Called after the view has changed, since each view draws its text anew.
  draw() {
    if (!this.article || !this.isAsked) return;
    for (const side of Object.keys(SIDES)) {
      const marks = this.list.filter((mark) => mark.side === side);
      const drawn = this.article.querySelector(`${SIDES[side]} mark.passage`);
      if (marks.length || drawn) this.passages(side).draw(marks.map((mark) => ({ ...mark, words: this.words(mark) })));
    }
  }

  // Before another view is made of the rendered text.
  clear(article) {
    this.held = {};
    for (const root of article?.querySelectorAll(".side :is([data-rendered], [data-raw])") ?? []) clearDrawn(root);
  }

  passages(side) {
    const place = this.article.querySelector(SIDES[side]);
    const root = [...place.querySelectorAll("[data-rendered], [data-raw], [data-diff]")].find((one) => !one.hidden);
    if (this.held[side]?.root !== root) this.held[side] = new Passages(root, this.source(side));
    return this.held[side];
  }

  words({ kind, reason }) {
    const { words } = this.desk;
    return (kind === "good" ? words.markedGood : words.markedBad) + (reason ? `: ${reason}` : "");
  }

  // --- what is chosen ----------------------------------------------------------------------------------------------

  follow() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settle(), SETTLED);
  }

  // A selection within one answer opens the bar; without one it closes. While keys move it, only fingers select.
  settle() {
    const selection = getSelection();
    if ((this.isOn && !NARROW.matches) || !this.article || document.querySelector("dialog[open]")) return;
    if (selection.isCollapsed || !selection.rangeCount) {
      if (!this.isOn && this.chosen?.bySelection && !this.bar.matches(":focus-within")) this.close();
      return;
    }
    const range = selection.getRangeAt(0);
    const side = this.sideOf(range.commonAncestorContainer);
    const found = side && this.passages(side).passageOf(range);
    const span = found && this.passages(side).wholeWords(found);
    if (!span || (this.isOn && side === this.chosen?.side && String(span) === String(this.chosen.span))) return;
    this.open({ side, span, bySelection: true });
  }

  sideOf(node) {
    return Object.keys(SIDES).find((side) => this.article?.querySelector(`${SIDES[side]} .side-body`).contains(node));
  }

  // While marking is on, a click or a tap chooses the sentence there; else one on a mark opens it.
  onClick(event) {
    if (!this.isAsked || !getSelection().isCollapsed) return;
    if (this.isOn) {
      const side = this.sideOf(event.target);
      const sentence = side && this.passages(side).sentenceAt(event.clientX, event.clientY);
      return sentence && this.go(side, sentence);
    }
    const drawn = event.target.closest("mark.passage");
    const side = drawn && this.sideOf(drawn);
    if (!side) return this.chosen && !this.chosen.bySelection && this.close();
    const range = document.createRange();
    range.selectNodeContents(drawn);
    const span = this.passages(side).passageOf(range);
    const mark = span && this.marked({ side, span });
    if (mark) this.open({ side, span: mark.span });
  }

  marked({ side, span }) {
    return this.list.find((mark) => mark.side === side && overlap(mark.span, span));
  }

  open(chosen) {
    this.chosen = chosen;
    const mark = this.marked(chosen);
    for (const button of this.bar.querySelectorAll("[data-mark]")) {
      button.setAttribute("aria-pressed", String(mark?.kind === button.dataset.mark));
      if (button.dataset.mark === "remove") button.hidden = !mark;
      if (["remove", "close"].includes(button.dataset.mark)) button.removeAttribute("aria-pressed");
    }
    this.showReasons(mark);
    this.bar.classList.toggle("is-by-keys", this.isOn);
    this.bar.hidden = false;
    this.place();
  }

  showReasons(mark) {
    const list = this.bar.querySelector("[data-mark-reasons]");
    const reasons = mark ? this.desk.reasons.boxes.map((box) => box.value) : [];
    const chip = this.bar.querySelector("[data-mark-chip]").content.firstElementChild;
    list.hidden = !reasons.length;
    list.replaceChildren(
      ...reasons.map((reason, i) => {
        const button = chip.cloneNode(true);
        button.dataset.markReason = reason;
        button.setAttribute("aria-pressed", String(mark.reason === reason));
        button.querySelector("span").textContent = reason;
        const key = button.querySelector("kbd");
        if (i < 10) key.textContent = String((i + 1) % 10);
        else key.remove();
        return button;
      }),
    );
  }

  // Near the passage, but for keys below the text that they go on to read; on a phone, where fingers have a menu of their
  // own, at the edge of the answers. It covers neither the passage nor an answer's button.
  place() {
    const range = this.passages(this.chosen.side).rangeOf(this.chosen.span);
    const desk = this.desk.getBoundingClientRect();
    const stage = this.desk.stage.getBoundingClientRect();
    const body = this.article.querySelector(`${SIDES[this.chosen.side]} .side-body`).getBoundingClientRect();
    const lines = range ? [...range.getClientRects()] : [];
    const [above, below] = [(lines[0] ?? body).top, (lines.at(-1) ?? body).bottom];
    const { offsetHeight: height, offsetWidth: width } = this.bar;
    const lowest = Math.min(stage.bottom, innerHeight, this.isOn && !NARROW.matches ? body.bottom : Infinity) - height - 8;
    let top = this.isOn || NARROW.matches ? lowest : Math.min(below, body.bottom) + 8;
    if (top < below) top = Math.min(below + 8, lowest);
    if (top < below) top = Math.max(stage.top, above - height - 8);
    if (top < 0) top = Math.max(0, Math.min(below + 8, innerHeight - height)); // little height: at least all of it is seen
    const left = NARROW.matches ? 0 : Math.max(0, Math.min((this.isOn ? body.left + 12 : lines.at(-1)?.left ?? body.left) - desk.left, desk.width - width));
    this.bar.style.inset = `${top - desk.top}px auto auto ${left}px`;
  }

  close() {
    this.bar.hidden = true;
    this.chosen = null;
  }

  leave() {
    const wasOn = this.isOn;
    const hadFocus = this.bar.contains(document.activeElement);
    this.isOn = false;
    if (this.chosen) getSelection().removeAllRanges();
    this.close();
    this.button?.setAttribute("aria-pressed", "false");
    if ((wasOn || hadFocus) && this.article?.isConnected) this.article.focus({ preventScroll: true });
    if (wasOn) this.desk.announce(this.desk.words.markLeft);
  }

  get button() {
    return this.desk.querySelector("[data-act=mark]");
  }

  // --- marking -----------------------------------------------------------------------------------------------------

  mark(kind) {
    if (!this.chosen) return;
    const { side, span } = this.chosen;
    const same = this.list.find((mark) => mark.side === side && mark.span[0] === span[0] && mark.span[1] === span[1]);
    const rest = this.list.filter((mark) => mark.side !== side || !overlap(mark.span, span)); // the new one takes their place
    if (rest.length >= MOST) return this.desk.notice(fill(this.desk.words.markMost, { n: MOST }));
    const made = { side, span, kind, reason: same?.reason ?? "" };
    this.list = [...rest, made];
    this.changed(made);
  }

  // One of the short reasons; choosing it again takes it away.
  give(reason) {
    const mark = this.chosen && this.marked(this.chosen);
    if (!mark) return;
    mark.reason = mark.reason === reason ? "" : reason;
    this.changed(mark);
  }

  changed(mark) {
    this.keep();
    const isOver = this.chosen.bySelection && !this.desk.reasons.boxes.length; // nothing more can be said of it
    this.chosen = { side: mark.side, span: mark.span };
    if (isOver) this.leave();
    else {
      if (!this.isOn) getSelection().removeAllRanges();
      this.open(this.chosen);
      if (this.isOn) this.select();
    }
    this.desk.announce(`${this.words(mark)}. ${this.quote(mark)}`);
  }

  remove() {
    const mark = this.chosen && this.marked(this.chosen);
    if (!mark) return;
    this.list = this.list.filter((one) => one !== mark);
    this.keep();
    if (this.isOn) {
      this.open(this.chosen);
      this.select();
    } else this.leave();
    this.desk.announce(this.desk.words.markRemoved);
  }

  quote({ side, span }) {
    const text = this.source(side).slice(...span);
    return text.length > LONGEST_SAID ? `${text.slice(0, LONGEST_SAID)}…` : text;
  }

  // --- by keyboard -------------------------------------------------------------------------------------------------

  toggle() {
    if (!this.isAsked || !this.article) return;
    if (this.isOn) return this.leave();
    const chosen = this.chosen;
    this.isOn = true;
    this.button?.setAttribute("aria-pressed", "true");
    if (chosen) return this.go(chosen.side, chosen.span);
    if (!this.step("sentence", 1) && !this.other()) this.leave();
  }

  // Whether the key was for the marks.
  onKey(event) {
    if (!this.chosen || this.bar.hidden) return false;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const onButton = event.target.closest?.("[data-mark-bar] button");
    if (onButton && ["Enter", " "].includes(key)) return false;
    const does = { g: () => this.mark("good"), b: () => this.mark("bad"), Escape: () => this.leave() };
    if (this.isOn) Object.assign(does, this.moves(event, key));
    const isLetter = key.length === 1 && key !== "?";
    if (!does[key] && !(this.isOn && isLetter)) return false;
    event.preventDefault();
    if (!event.repeat || key.startsWith("Arrow")) does[key]?.(); // what means nothing here does not answer the pair
    return true;
  }

  moves(event, key) {
    const by = (granularity, way) => () => (event.shiftKey ? this.extend(granularity, way) : this.step(granularity, way));
    const reason = /^[0-9]$/.test(key) && this.desk.reasons.boxes[(Number(key) || 10) - 1]?.value;
    return {
      ArrowDown: by("sentence", 1),
      ArrowUp: by("sentence", -1),
      ArrowRight: by("word", 1),
      ArrowLeft: by("word", -1),
      o: () => this.other(),
      Delete: () => this.remove(),
      Backspace: () => this.remove(),
      Enter: () => this.leave(),
      m: () => this.leave(),
      ...(reason && { [key]: () => this.give(reason) }),
    };
  }

  // The sentence or word after the chosen one, or before it; past an answer's end the other's first.
  step(granularity, way) {
    const side = this.chosen?.side ?? "left";
    const pieces = this.passages(side).pieces(granularity);
    const [start, end] = this.chosen?.span ?? [-1, -1];
    const next = way > 0 ? pieces.find((one) => one[0] > start && (granularity === "sentence" || one[0] >= end || start < 0)) : pieces.findLast((one) => one[0] < start);
    if (next) return this.go(side, next);
    if (way > 0 && side === "left") return this.other();
    if (way < 0 && side === "right") return this.other(-1);
    return false;
  }

  // Moves the end of what is chosen, not before its first word.
  extend(granularity, way) {
    const { side, span } = this.chosen;
    const pieces = this.passages(side).pieces(granularity);
    const next = way > 0 ? pieces.find((one) => one[1] > span[1]) : pieces.findLast((one) => one[1] < span[1] && one[1] > span[0]);
    return next ? this.go(side, [span[0], next[1]]) : false;
  }

  other(at = 0) {
    const side = this.chosen?.side === "right" ? "left" : "right";
    const piece = this.passages(side).pieces("sentence").at(at);
    return piece ? this.go(side, piece) : false;
  }

  go(side, span) {
    this.open({ side, span });
    this.select();
    const letter = side === "left" ? "A" : "B";
    const mark = this.marked(this.chosen);
    this.desk.announce(`${letter}: ${this.quote(this.chosen)}${mark ? ` (${this.words(mark)})` : ""}`);
    return true;
  }

  // Shows what is chosen as the page's selection, and scrolls to it.
  select() {
    const range = this.passages(this.chosen.side).rangeOf(this.chosen.span);
    if (!range) return;
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    const rect = range.getBoundingClientRect();
    const body = this.article.querySelector(`${SIDES[this.chosen.side]} .side-body`);
    const scroller = body.scrollHeight > body.clientHeight + 1 && getComputedStyle(body).overflowY !== "visible" ? body : this.desk.stage;
    const frame = scroller.getBoundingClientRect();
    if (rect.top < frame.top || rect.bottom > frame.bottom) scroller.scrollTop += rect.top - frame.top - frame.height / 4;
    this.place();
  }
}
