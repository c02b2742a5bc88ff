// The desk for ratings: one answer after the other, each by the items of a rubric. What is kept, sent and taken back is
// that of the desk for pairs; its own is the rubric (annotate-rubric.js).

import { FlagSheet } from "./annotate-pair-flag.js";
import { AnnotatePair } from "./annotate-pair.js";
import { Rubric } from "./annotate-rubric.js";
import { wordsOf } from "./annotate-pair-words.js";

const NOTHING = { show() {}, open() {}, keep() {} };
// A rating has no better side: what is said besides it, a skip, is sent as it is.
const NO_STRENGTH = {
  show() {},
  saidBy: () => null,
  parts: (choice) => ({ choice }),
  word: ({ choice }) => ({ cant_judge: "cantJudge" })[choice] ?? choice,
};

class AnnotateRate extends AnnotatePair {
  makeParts() {
    Object.assign(this.words, wordsOf(this.querySelector("[data-rate-words]")));
    this.strength = NO_STRENGTH;
    this.criterion = NOTHING;
    this.flagSheet = new FlagSheet(this);
    this.editLast = NOTHING;
    this.reasons = { chosen: [], open() {}, show: () => this.note.mark() };
    this.marks = { listen() {}, onKey: () => false, show() {}, clear() {}, draw() {}, toggle() {}, said: "" };
    this.ranking = new Rubric(this, this.kept);
  }

  answer(choice) {
    if (choice === "rated") this.ranking.send();
    else super.answer(choice);
  }

  rate(values) {
    this.send("rate", { choice: "rated", values: JSON.stringify(values) }, this.words.rated);
  }
}

customElements.define("annotate-rate", AnnotateRate);
