// Ranks a set of answers: their digits place them one after the other, with Shift tied with the last; arrows move the
// letter that has the focus; letters can be clicked, touched and dragged; Enter saves.

import { Drag } from "./annotate-rank-drag.js";
import { Extremes, FullOrder } from "./annotate-rank-order.js";
import { fill } from "./annotate-pair-words.js";

const KINDS = { ranking: FullOrder, best_worst: Extremes };
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

export class Ranking {
  constructor(desk) {
    this.desk = desk;
    this.bar = desk.querySelector("[data-rank-bar]");
    this.list = this.bar.querySelector("[data-rank-list]");
    this.pool = this.bar.querySelector("[data-rank-pool]");
    this.hint = this.bar.querySelector("[data-rank-hint]");
    this.save = this.bar.querySelector("[data-rank-save]");
    this.said = new WeakMap(); // what was said of each set so far
    this.bar.addEventListener("click", (event) => this.onClick(event));
    new Drag(this.bar, (chip, place) => this.drop(Number(chip.dataset.chip), place));
  }

  get task() {
    return this.desk.guide.place.dataset.task;
  }

  // Whether the answer on the screen is a ranking.
  get isAsked() {
    return Boolean(this.desk.current && "set" in this.desk.current.dataset);
  }

  // A set that was fetched before the guideline became one of pairs: the server lays it out anew.
  get isStale() {
    return this.isAsked && !(this.task in KINDS);
  }

  get order() {
    const article = this.desk.current;
    const Kind = KINDS[this.task];
    let order = this.said.get(article);
    if (!(order instanceof Kind)) {
      order = new Kind(Number(article.dataset.set));
      this.said.set(article, order);
    }
    return order;
  }

  // Called whenever something else is shown.
  show() {
    this.bar.hidden = !this.isAsked;
    this.desk.classList.toggle("is-ranking", this.isAsked);
    this.desk.querySelector(".verdict-choices").hidden = this.isAsked;
    this.desk.toggleKeys(this.isAsked ? "set" : "pair");
    if (this.isAsked) this.draw();
  }

  // Returns whether the key was one of the ranking's.
  onKey(event) {
    if (!this.isAsked) return false;
    const { order } = this;
    const chip = event.target.closest?.("[data-chip]");
    const digit = /^Digit([1-9])$/.exec(event.code)?.[1] ?? (/^[1-9]$/.test(event.key) ? event.key : null);
    if (digit) {
      if (!event.repeat && Number(digit) <= order.n) this.toggle(Number(digit) - 1, event.shiftKey);
    } else if (chip && event.key in STEPS) {
      this.change(Number(chip.dataset.chip), (answer) => (order.boxOf(answer) < 0 ? order.add(answer, false) : order.move(answer, STEPS[event.key])));
    } else if (event.key === "Backspace" && order.latest.length) {
      this.change(order.latest.at(-1), (answer) => order.take(answer));
    } else if (event.key === "Enter" && (chip || !event.target.closest?.("button, a, summary"))) {
      if (!event.repeat) this.send();
    } else {
      return false;
    }
    event.preventDefault();
    return true;
  }

  onClick(event) {
    const chip = event.target.closest("[data-chip]");
    if (chip && this.isAsked) this.toggle(Number(chip.dataset.chip), event.shiftKey);
  }

  toggle(answer, isTie) {
    const { order } = this;
    this.change(answer, () => (order.boxOf(answer) < 0 ? order.add(answer, isTie) : order.take(answer)));
  }

  drop(answer, place) {
    const { box, gap } = place.dataset;
    this.change(answer, () => {
      if ("rankPool" in place.dataset) this.order.take(answer);
      else this.order.put(answer, box === undefined ? { gap: Number(gap) } : { box: Number(box) });
    });
  }

  change(answer, how) {
    how(answer);
    this.desk.notice("");
    this.draw();
    this.desk.announce(this.words(answer));
  }

  send() {
    if (!this.order.isComplete) return this.desk.notice(this.desk.words[this.task === "ranking" ? "rankAll" : "rankBoth"]);
    this.desk.rank(this.order.ranks);
  }

  letter(answer) {
    return this.desk.current.querySelector(`[data-answer="${answer}"] [data-letter]`).textContent;
  }

  words(answer) {
    const { order } = this;
    const { words } = this.desk;
    const at = order.boxOf(answer);
    const letter = this.letter(answer);
    if (at < 0) return fill(words.rankNone, { letter });
    const name = order.nameOf(at);
    const others = order.boxes[at].filter((one) => one !== answer).map((one) => this.letter(one));
    const said = `${letter}: ${fill(words[name.words], name)}`;
    return others.length ? `${said}, ${fill(words.rankTied, { letters: others.join(", ") })}` : said;
  }

  draw() {
    const { order } = this;
    const focused = document.activeElement?.dataset?.chip;
    const hadFocus = this.bar.contains(document.activeElement) && focused !== undefined;
    const items = order.boxes.flatMap((box, at) => [...this.gap(at), this.box(box, at)]);
    this.list.replaceChildren(...items, ...this.gap(order.boxes.length));
    this.pool.replaceChildren(...order.pool.map((answer) => this.chip(answer)));
    const hints = this.task === "ranking" ? ["rankHint", "rankReady"] : ["rankHintBoth", "rankReady"];
    this.hint.textContent = this.desk.words[hints[Number(order.isComplete)]];
    this.bar.classList.toggle("is-begun", order.latest.length > 0);
    this.save.classList.toggle("is-waiting", !order.isComplete);
    for (const side of this.desk.current.querySelectorAll("[data-answer]")) {
      const badge = side.querySelector("[data-rank-badge]");
      const at = order.boxOf(Number(side.dataset.answer));
      badge.hidden = at < 0;
      badge.textContent = at < 0 ? "" : fill(this.desk.words[order.nameOf(at).words], order.nameOf(at));
    }
    if (hadFocus) this.bar.querySelector(`[data-chip="${focused}"]`)?.focus({ preventScroll: true });
  }

  gap(at) {
    if (!this.order.hasGaps) return [];
    const gap = document.createElement("li");
    gap.className = "rank-gap";
    gap.dataset.gap = at;
    gap.setAttribute("aria-hidden", "true");
    return [gap];
  }

  box(answers, at) {
    const box = document.createElement("li");
    box.className = "rank-box";
    box.dataset.box = at;
    const { short } = this.order.nameOf(at);
    if (short) {
      const number = document.createElement("span");
      number.className = "rank-n";
      number.textContent = short;
      number.setAttribute("aria-hidden", "true");
      box.append(number);
    }
    box.append(...answers.map((answer) => this.chip(answer)));
    return box;
  }

  chip(answer) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "rank-chip";
    chip.dataset.chip = answer;
    chip.textContent = this.letter(answer);
    chip.setAttribute("aria-label", this.words(answer));
    return chip;
  }
}
