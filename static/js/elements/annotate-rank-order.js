// What was said so far of a set of answers, which are known by their places on the screen, from 0. Each kind of task has
// a class with the same interface: boxes to put answers into, and a pool of those that are in none.

// All answers from best to worst; those in one box are tied.
export class FullOrder {
  hasGaps = true; // an answer can be put between two boxes

  constructor(n) {
    this.n = n;
    this.boxes = [];
    this.latest = []; // answers, in the order in which they were placed
  }

  boxOf(answer) {
    return this.boxes.findIndex((box) => box.includes(answer));
  }

  get pool() {
    return [...Array(this.n).keys()].filter((answer) => this.boxOf(answer) < 0);
  }

  get isComplete() {
    return !this.pool.length;
  }

  // After the last box, or tied with those in it.
  add(answer, isTie) {
    if (isTie && this.boxes.length) this.put(answer, { box: this.boxes.length - 1 });
    else this.put(answer, { gap: this.boxes.length });
  }

  take(answer) {
    this.boxes = this.boxes.map((box) => box.filter((one) => one !== answer)).filter((box) => box.length);
    this.latest = this.latest.filter((one) => one !== answer);
  }

  // where: {box: k} ties it with those in a box, {gap: k} makes a box of its own before that one
  put(answer, { box, gap }) {
    const there = this.boxes[box];
    const after = this.boxes[gap];
    this.boxes = this.boxes.map((one) => (one === there || one === after ? one : one.filter((other) => other !== answer)));
    if (there) {
      if (!there.includes(answer)) there.push(answer);
    } else {
      const rest = after?.filter((one) => one !== answer);
      const at = after ? this.boxes.indexOf(after) : this.boxes.length;
      this.boxes.splice(at, after ? 1 : 0, [answer], ...(rest ? [rest] : []));
    }
    this.boxes = this.boxes.filter((one) => one.length);
    for (const one of this.boxes) one.sort((a, b) => a - b);
    this.latest = [...this.latest.filter((one) => one !== answer), answer];
  }

  // By one step: out of a tie, or into the next box.
  move(answer, step) {
    const at = this.boxOf(answer);
    if (at < 0) return;
    if (this.boxes[at].length > 1) this.put(answer, { gap: step < 0 ? at : at + 1 });
    else if (this.boxes[at + step]) this.put(answer, { box: at + step });
  }

  get ranks() {
    return [...Array(this.n).keys()].map((answer) => this.boxOf(answer) + 1);
  }

  // The key of the words that name a box, and what stands on it.
  nameOf(box) {
    return { words: "rankPlace", n: box + 1, short: String(box + 1) };
  }
}

// The best and the worst; all others are tied between them.
export class Extremes {
  hasGaps = false;

  constructor(n) {
    this.n = n;
    this.boxes = [[], []];
    this.latest = [];
  }

  boxOf(answer) {
    return this.boxes.findIndex((box) => box.includes(answer));
  }

  get pool() {
    return [...Array(this.n).keys()].filter((answer) => this.boxOf(answer) < 0);
  }

  get isComplete() {
    return this.boxes.every((box) => box.length);
  }

  // The best first, then the worst; with Shift the worst at once.
  add(answer, isWorst) {
    this.put(answer, { box: isWorst || this.boxes[0].length ? 1 : 0 });
  }

  take(answer) {
    this.boxes = this.boxes.map((box) => box.filter((one) => one !== answer));
    this.latest = this.latest.filter((one) => one !== answer);
  }

  put(answer, { box }) {
    if (box === undefined) return;
    this.take(answer);
    for (const one of this.boxes[box]) this.take(one);
    this.boxes[box] = [answer];
    this.latest.push(answer);
  }

  move(answer, step) {
    const at = this.boxOf(answer);
    if (at >= 0 && this.boxes[at + step]) this.put(answer, { box: at + step });
  }

  get ranks() {
    return [...Array(this.n).keys()].map((answer) => [2, 1, 3][this.boxOf(answer) + 1]);
  }

  nameOf(box) {
    return { words: box ? "rankWorst" : "rankBest", n: box + 1, short: "" };
  }
}
