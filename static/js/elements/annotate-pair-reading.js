// How a pair is read: rendered, as it was written, or word by word against the other; both sides scroll together.

import { diffed } from "./annotate-pair-diff.js";

// view: text | raw | diff
export function showView(article, view) {
  const sides = [...article.querySelectorAll(".side")];
  if (view === "diff" && sides.length !== 2) view = "text"; // only two can be compared word by word
  if (view === "diff") {
    const copies = diffed(sides.map((side) => side.querySelector("[data-rendered]")));
    copies.forEach((copy, at) => sides[at].querySelector("[data-diff]").replaceChildren(...copy.childNodes));
  }
  for (const side of sides) {
    side.querySelector("[data-rendered]").hidden = view !== "text";
    side.querySelector("[data-raw]").hidden = view !== "raw";
    if (sides.length === 2) side.querySelector("[data-diff]").hidden = view !== "diff";
  }
  article.querySelector(".pair-prompt [data-rendered]").hidden = view === "raw";
  article.querySelector(".pair-prompt [data-raw]").hidden = view !== "raw";
}

// Gives the prompt the room that the answers don't need, and shows its last turn: the one that was answered.
export function placePrompt(article) {
  const sides = [...article.querySelectorAll("[data-scroll]")];
  if (sides.length !== 2) return lastTurn(article); // sets scroll as a whole
  const free = Math.min(...sides.map((side) => side.clientHeight - contentHeight(side)));
  const prompt = article.querySelector(".pair-prompt-text");
  article.style.setProperty("--prompt-room", `${Math.max(0, prompt.clientHeight + free)}px`);
  lastTurn(article);
}

function lastTurn(article) {
  const prompt = article.querySelector(".pair-prompt-text");
  const last = prompt.querySelector(".turn:last-child");
  const above = last ? last.offsetTop - prompt.firstElementChild.offsetTop : 0;
  prompt.scrollTop = Math.min(above, prompt.scrollHeight - prompt.clientHeight);
}

function contentHeight(side) {
  const style = getComputedStyle(side);
  const shown = [...side.children].find((child) => !child.hidden);
  return parseFloat(style.paddingTop) + shown.offsetHeight + parseFloat(style.paddingBottom);
}

// Moves the other side to the same share of its length; that side's own scroll event is then the answer, and ends it.
export class ScrollTogether {
  follow(from, article) {
    if (!from.matches?.("[data-scroll]") || from === this.following) return (this.following = null);
    const sides = [...article.querySelectorAll("[data-scroll]")];
    if (sides.length !== 2) return;
    const to = sides.find((one) => one !== from);
    const room = from.scrollHeight - from.clientHeight;
    const target = room > 0 ? Math.round((from.scrollTop / room) * (to.scrollHeight - to.clientHeight)) : 0;
    if (Math.abs(to.scrollTop - target) < 1) return;
    this.following = to;
    to.scrollTop = target;
  }
}
