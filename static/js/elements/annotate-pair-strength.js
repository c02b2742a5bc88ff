// How much better the better answer is, where the guideline on the screen asks: Shift with its key, or a button of its own.

const KEYS = { Digit1: "left", ArrowLeft: "left", Digit2: "right", ArrowRight: "right" };

export class Strength {
  constructor(desk) {
    this.desk = desk;
  }

  get isAsked() {
    return "asksStrength" in this.desk.guide.place.dataset && !this.desk.ranking.isAsked;
  }

  // Called whenever a pair is shown: its guideline may be another one.
  show() {
    for (const one of this.desk.querySelectorAll("[data-when-strength]")) one.hidden = !this.isAsked;
  }

  // What a key with Shift says, as the buttons send it. A layout that types digits with Shift keeps them as plain answers.
  saidBy(event) {
    if (!this.isAsked || !event.shiftKey || /^[0-9]$/.test(event.key)) return null;
    const side = this.desk.keys.side(event) ?? KEYS[event.code];
    return side ? `${side} much_better` : null;
  }

  // The choice and its strength, from what a button or a key says: "left", "left much_better", "tie".
  parts(said) {
    const [choice, strength] = said.split(" ");
    const isSide = choice === "left" || choice === "right";
    return { choice, strength: this.isAsked && isSide ? (strength ?? "better") : "" };
  }

  // The word for the screen reader: a key of the desk's words.
  word({ choice, strength }) {
    if (strength === "much_better") return choice === "left" ? "muchLeft" : "muchRight";
    return { both_bad: "bothBad", cant_judge: "cantJudge" }[choice] ?? choice;
  }
}
