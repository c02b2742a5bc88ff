// The items of a rubric beside an answer: digits give the current one a value and go on to the next, up and down go from
// item to item, left and right change a value; Enter sends. What was chosen is kept in the browser until it is sent.

import { fill } from "./annotate-pair-words.js";

const BETWEEN = { ArrowUp: -1, ArrowDown: 1 };
const WITHIN = { ArrowLeft: -1, ArrowRight: 1 };

export class Rubric {
  isAsked = true; // the keys of pairs say nothing here

  constructor(desk, kept) {
    this.desk = desk;
    this.kept = kept;
    this.at = 0; // the current item
    desk.stage.addEventListener("change", (event) => event.target.matches("[data-value]") && this.chosen(event.target));
    desk.stage.addEventListener("focusin", (event) => {
      const item = event.target.closest("[data-item]");
      if (item && this.desk.current?.contains(item)) this.go(this.items.indexOf(item), { focus: false });
    });
  }

  get article() {
    return this.desk.current;
  }

  get items() {
    return [...(this.article?.querySelectorAll("[data-item]") ?? [])];
  }

  // An answer that was fetched under another version of the rubric: the server gives it again, with this one.
  get isStale() {
    return Boolean(this.article) && this.article.dataset.guideline !== this.desk.guide.version;
  }

  get save() {
    return this.desk.querySelector("[data-rate-save]");
  }

  // Called whenever something else is shown.
  show() {
    this.save.disabled = !this.article;
    if (!this.article) return;
    const kept = this.read();
    for (const item of this.items) {
      const value = kept[item.dataset.item];
      const input = value === undefined ? null : item.querySelector(`[data-value="${Number(value)}"]`);
      if (input) input.checked = true;
    }
    const open = this.items.findIndex((item) => this.valueOf(item) === null);
    this.go(Math.max(0, open), { focus: false });
    this.showReady();
  }

  // Returns whether the key was one of the rubric's.
  onKey(event) {
    if (!this.article) return false;
    const digit = /^Digit([0-9])$/.exec(event.code)?.[1] ?? (/^[0-9]$/.test(event.key) ? event.key : null);
    if (digit && !event.shiftKey) {
      if (!event.repeat) this.choose(Number(digit) - 1);
    } else if (event.key in BETWEEN) {
      this.go(this.at + BETWEEN[event.key], { focus: true });
    } else if (event.key in WITHIN) {
      this.step(WITHIN[event.key]);
    } else if (event.key === "Enter" && !event.target.closest?.("button, a, summary")) {
      if (!event.repeat) this.send();
    } else {
      return false;
    }
    event.preventDefault();
    return true;
  }

  inputs(item) {
    return [...item.querySelectorAll("[data-value]")];
  }

  valueOf(item) {
    const checked = this.inputs(item).find((input) => input.checked);
    return checked ? Number(checked.dataset.value) : null;
  }

  // The option at a place of the current item; then the next item is the current one.
  choose(place) {
    const input = this.inputs(this.items[this.at])[place];
    if (!input) return;
    input.checked = true;
    this.chosen(input);
    if (this.at < this.items.length - 1) this.go(this.at + 1, { focus: true });
    else input.focus({ preventScroll: true });
  }

  step(by) {
    const item = this.items[this.at];
    const inputs = this.inputs(item);
    const now = inputs.findIndex((input) => input.checked);
    const input = inputs[now < 0 ? (by > 0 ? 0 : inputs.length - 1) : Math.min(inputs.length - 1, Math.max(0, now + by))];
    input.checked = true;
    input.focus({ preventScroll: true });
    this.chosen(input);
  }

  chosen(input) {
    this.desk.notice("");
    this.kept.set(this.name, JSON.stringify(this.values));
    this.showReady();
    this.desk.announce(`${input.closest("[data-item]").dataset.item}: ${input.getAttribute("aria-label")}`);
  }

  go(place, { focus }) {
    const { items } = this;
    if (!items.length) return;
    this.at = Math.min(items.length - 1, Math.max(0, place));
    for (const [n, item] of items.entries()) item.classList.toggle("is-current", n === this.at);
    const item = items[this.at];
    if (!focus) return;
    (this.inputs(item).find((input) => input.checked) ?? this.inputs(item)[0]).focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  }

  get name() {
    return `rating:${this.article.dataset.assignment}`;
  }

  get values() {
    return Object.fromEntries(this.items.map((item) => [item.dataset.item, this.valueOf(item)]).filter(([, value]) => value !== null));
  }

  read() {
    try {
      const kept = JSON.parse(this.kept.get(this.name) ?? "{}");
      return kept && typeof kept === "object" ? kept : {};
    } catch {
      return {}; // what is kept is no rating: nothing is chosen yet
    }
  }

  showReady() {
    const n = this.items.filter((item) => this.valueOf(item) === null).length;
    this.save.classList.toggle("is-waiting", n > 0);
    const left = this.desk.querySelector("[data-rate-left]");
    left.textContent = n ? fill(this.desk.words.rateLeft, { n }) : this.desk.words.rateReady;
    left.classList.toggle("is-ready", !n);
  }

  send() {
    if (!this.article) return;
    const missing = this.items.findIndex((item) => this.valueOf(item) === null);
    if (missing >= 0) {
      this.go(missing, { focus: true });
      this.desk.notice(fill(this.desk.words.rateMissing, { item: this.items[missing].dataset.item }));
      return;
    }
    this.desk.rate(this.values);
  }
}
