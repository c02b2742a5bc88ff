// The reviewer's desk: a queue at the left, one comparison at the right, decisions by one key.

import { showMarked } from "../marked.js";
import { countInRail, signInLink, wordsOf } from "./annotate-pair-words.js";

const FRESH_MS = 60_000; // how long a pair fetched ahead is shown as it was

class ReviewQueue extends HTMLElement {
  connectedCallback() {
    this.ahead = new Map(); // by row id: when it was fetched, and its text
    this.classList.add("is-scripted");
    this.words = wordsOf(this.querySelector("[data-words]"));
    this.pane = this.querySelector("[data-detail-pane]");
    this.keys = this.querySelector("[data-keys]");
    this.listening = new AbortController();
    const on = (target, name, handler) => target.addEventListener(name, handler, { signal: this.listening.signal });
    on(document, "keydown", (event) => this.onKey(event));
    on(this, "submit", (event) => this.onSubmit(event));
    on(this, "click", (event) => this.onClick(event));
    on(this, "change", (event) => event.target.matches("[data-submit]") && event.target.form.requestSubmit());
    on(window, "popstate", () => location.reload());
    this.markQuotes();
    this.fetchAhead();
  }

  disconnectedCallback() {
    this.listening?.abort();
  }

  get rows() {
    return [...this.querySelectorAll("[data-row]")];
  }

  get item() {
    return this.pane.querySelector("[data-item]");
  }

  get selected() {
    return this.rows.find((row) => row.dataset.id === this.item?.dataset.id) ?? null;
  }

  onClick(event) {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act === "keys") this.keys.showModal();
    if (act === "close-keys") this.keys.close();
    const row = event.target.closest("[data-row]");
    if (row && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      this.open(row);
    }
  }

  onKey(event) {
    if (event.defaultPrevented || event.isComposing || event.keyCode === 229) return;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const inText = event.target.closest?.("textarea, select, [contenteditable], input:not([type=checkbox])");
    if (event.key === "Escape") return this.closeOverride();
    if (inText) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const sheet = this.sheet;
    const choices = { 1: "first", 2: "second", 3: "tie", 4: "both_bad" };
    if (sheet?.open && key in choices && !event.repeat) {
      event.preventDefault();
      sheet.querySelector(`button[value=${choices[key]}]`).click();
    } else if (key === "Enter" && !event.repeat && !event.target.closest?.("a, button, summary, label, input")) {
      if (!this.item || sheet?.open) return;
      event.preventDefault();
      this.item.querySelector("button[value=agree]").click();
    } else if (key === "o" && sheet) {
      event.preventDefault();
      sheet.open = !sheet.open;
      if (sheet.open) sheet.querySelector("input").focus({ preventScroll: true });
    } else if (key === "j" || key === "ArrowDown") this.step(event, 1);
    else if (key === "k" || key === "ArrowUp") this.step(event, -1);
    else if (key === "u" && !event.repeat) {
      event.preventDefault();
      this.undo();
    } else if (key === "?") {
      event.preventDefault();
      this.keys.showModal();
    }
  }

  get sheet() {
    return this.item?.querySelector("[data-override]");
  }

  closeOverride() {
    if (!this.sheet?.open) return;
    this.sheet.open = false;
    this.pane.focus({ preventScroll: true });
  }

  step(event, by) {
    event.preventDefault();
    const rows = this.rows;
    const row = rows[rows.indexOf(this.selected) + by];
    if (row) this.open(row);
  }

  async onSubmit(event) {
    const form = event.target;
    if (!form.matches("[data-decide], [data-withdraw]")) return;
    event.preventDefault();
    const values = new URLSearchParams(new FormData(form));
    if (form.matches("[data-withdraw]")) return this.takeBack(form, values);
    const agree = event.submitter?.value === "agree";
    values.set("kind", agree ? "agree" : "override");
    if (agree) ["why", "reason", "choice"].forEach((name) => values.delete(name));
    else values.set("choice", event.submitter.value);
    await this.decide(form, values, agree);
  }

  async decide(form, values, agree) {
    if (this.busy) return;
    this.busy = true;
    const row = this.selected;
    const rows = this.rows;
    const next = rows[rows.indexOf(row) + 1] ?? null;
    this.saved(this.words.saving);
    const reply = await this.send(form.action, values);
    this.busy = false;
    if (!reply.ok) {
      this.saved("");
      return this.refused(reply);
    }
    this.notice("");
    this.saved(`✓ ${this.words.saved}`);
    this.count(reply.body);
    this.mark(row, reply.body.kind);
    if (next) await this.open(next);
    else if (this.querySelector("[data-list]").dataset.more) return location.assign(this.dataset.queue);
    else {
      await this.load(location.href, row);
      this.notice(this.words.end);
    }
    this.announce(agree ? this.words.saidAgreed : this.words.saidOverridden);
  }

  // What is shown, where it was decided by this person; else their last decision, which the server knows.
  async undo() {
    const own = this.item?.dataset.mine && this.item.querySelector("[data-withdraw]");
    if (own) return this.takeBack(own, new URLSearchParams(new FormData(own)));
    const form = this.querySelector("[data-undo]");
    const reply = await this.send(form.action, new URLSearchParams(new FormData(form)));
    if (!reply.ok) return reply.body ? this.notice(this.words.noUndo) : this.refused(reply);
    this.notice("");
    const row = this.rows.find((one) => one.dataset.id === String(reply.body.comparison));
    if (!row) return location.assign(reply.body.address); // decided in another queue, or before this page was loaded
    this.ahead.delete(row.dataset.id);
    await this.open(row);
    this.count(reply.body);
    this.mark(row, reply.body.kind);
    this.announce(this.words.back);
  }

  async takeBack(form, values) {
    const row = this.selected;
    const reply = await this.send(form.action, values);
    if (!reply.ok) return this.refused(reply);
    this.count(reply.body);
    this.mark(row, reply.body.kind);
    await this.load(row?.href ?? location.href, row);
    this.announce(this.words.back);
  }

  async send(url, body) {
    const headers = { Accept: "application/json" };
    try {
      const response = await fetch(url, { method: "POST", body, headers, redirect: "manual" });
      if (response.type === "opaqueredirect" || response.status === 403) return { ok: false, why: this.words.signedOut, signedOut: true };
      const json = (response.headers.get("Content-Type") ?? "").includes("application/json");
      const answer = json ? await response.json() : null;
      return { ok: response.ok && json, body: answer, why: answer?.detail ?? this.words.unreached };
    } catch {
      return { ok: false, why: this.words.unreached };
    }
  }

  async open(row) {
    for (const other of this.rows) other.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    row.scrollIntoView({ block: "nearest" });
    if (await this.load(row.href, row)) history.replaceState(null, "", row.href);
  }

  async load(href, row) {
    const asked = (this.asked = Symbol("load"));
    try {
      const text = await (this.fetchedAhead(row) ?? this.fetchDetail(href, row));
      if (asked !== this.asked) return false; // a later one was asked for meanwhile
      this.pane.innerHTML = text;
      this.markQuotes();
      this.pane.focus({ preventScroll: true });
      this.fetchAhead();
      return true;
    } catch {
      if (asked === this.asked) this.notice(this.words.unreached);
      return false;
    }
  }

  async fetchDetail(href, row) {
    const url = new URL(href, location.href);
    url.searchParams.set("part", "detail");
    const response = await fetch(row ? new URL(row.dataset.detail + url.search, location.href) : url, { redirect: "manual" });
    if (!response.ok) throw new Error(String(response.status));
    return response.text();
  }

  // The pair after the one on the screen, so that a decision shows it at once.
  fetchAhead() {
    const rows = this.rows;
    const next = this.item && rows[rows.indexOf(this.selected) + 1];
    if (!next || this.ahead.has(next.dataset.id)) return;
    const text = this.fetchDetail(next.href, next);
    text.catch(() => this.ahead.delete(next.dataset.id)); // it is asked for again when it is opened
    this.ahead.set(next.dataset.id, { text, at: Date.now() });
  }

  fetchedAhead(row) {
    const held = row && this.ahead.get(row.dataset.id);
    if (!held) return null;
    this.ahead.delete(row.dataset.id);
    return Date.now() - held.at < FRESH_MS ? held.text : null;
  }

  mark(row, kind) {
    const mark = row?.querySelector("[data-mark]");
    if (!mark) return;
    mark.replaceChildren();
    if (!kind) return;
    const chip = document.createElement("span");
    chip.className = kind === "agree" ? "chip chip-human" : "chip chip-override";
    chip.textContent = kind === "agree" ? this.words.agreed : this.words.overridden;
    mark.append(chip);
  }

  // The server counts: what is left in the rail and in this queue, and what was done.
  count(body) {
    countInRail(body.n_to_review);
    if (body.count_words) this.querySelector("[data-queue-count]").textContent = body.count_words;
    this.querySelector("[data-strip]").innerHTML = body.strip;
  }

  saved(text) {
    this.querySelector("[data-saved]").textContent = text;
  }

  notice(text) {
    const notice = this.querySelector("[data-notice]");
    notice.textContent = text;
    notice.hidden = !text;
  }

  refused(reply) {
    this.notice(reply.why);
    if (reply.signedOut) this.querySelector("[data-notice]").append(" ", signInLink(this.words.signIn));
  }

  announce(text) {
    const announcer = document.getElementById("announcer");
    if (announcer) announcer.textContent = text;
  }

  // What the judge quotes is marked where the answers really say it, and in the rationale.
  markQuotes() {
    const quotes = JSON.parse(this.pane.querySelector("#quoted-spans")?.textContent ?? "[]");
    for (const place of this.pane.querySelectorAll("[data-answer], [data-rationale] p")) {
      for (const quote of quotes) markIn(place, quote);
    }
    showMarked(this.pane); // what people marked, over it
  }
}

function markIn(place, quote) {
  const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  const wanted = quote.toLowerCase();
  const found = [];
  while (walker.nextNode()) {
    const at = walker.currentNode.data.toLowerCase().indexOf(wanted);
    if (at >= 0 && !walker.currentNode.parentElement.closest("mark")) found.push([walker.currentNode, at]);
  }
  for (const [node, at] of found) {
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, Math.min(at + quote.length, node.length));
    const mark = document.createElement("mark");
    mark.className = "quoted";
    range.surroundContents(mark);
  }
}

customElements.define("review-queue", ReviewQueue);
