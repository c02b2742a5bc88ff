// Answers that are not on the server yet: kept in localStorage, sent one after the other, in order, until they arrive.
// The server takes the same answer twice as once (by assignment), so sending again is always safe.

export const ANSWERS = new Set(["vote", "rank", "rate"]); // the kinds by which a pair, a set or an answer is dealt with

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;

export class Outbox {
  // send(op) -> "done" | "refused" | "later" | "signed-out"; changed(state, count) after every change.
  constructor(key, send, changed) {
    this.key = `prefloop:outbox:${key}`;
    this.send = send;
    this.changed = changed;
    this.memory = [];
    this.isBroken = false;
    this.wait = FIRST_WAIT;
    this.state = "saved";
  }

  read() {
    if (this.isBroken) return this.memory;
    try {
      return JSON.parse(localStorage.getItem(this.key) ?? "[]");
    } catch {
      return this.memory;
    }
  }

  write(ops) {
    this.memory = ops;
    try {
      if (ops.length) localStorage.setItem(this.key, JSON.stringify(ops));
      else localStorage.removeItem(this.key);
      this.isBroken = false;
    } catch {
      this.isBroken = true; // storage is off or full: the tab itself remembers, and leaving the page asks first
    }
  }

  get size() {
    return this.read().length;
  }

  // The last thing waiting about each assignment: an answer, "undo", or nothing.
  pending() {
    return new Map(this.read().map((op) => [op.assignment, op.kind]));
  }

  push(op) {
    this.write([...this.read(), op]);
    this.set("saving");
    this.flush();
  }

  set(state) {
    this.state = state;
    this.changed(state, this.size);
  }

  async flush() {
    if (this.flushing) return this.flushing;
    clearTimeout(this.timer);
    this.flushing = this.locked(() => this.drain()).finally(() => {
      this.flushing = null;
      if (this.state === "saving" && this.size) this.flush();
    });
    return this.flushing;
  }

  // Two tabs of one person share the box; only one of them sends at a time.
  locked(work) {
    return navigator.locks ? navigator.locks.request(this.key, work) : work();
  }

  async drain() {
    while (this.size) {
      const [op] = this.read();
      const result = await this.send(op);
      if (result === "done" || result === "refused") {
        this.write(this.read().filter((other) => other.id !== op.id));
        this.wait = FIRST_WAIT;
        this.changed("saving", this.size);
        continue;
      }
      this.set(result === "signed-out" ? "signed-out" : navigator.onLine ? "retrying" : "offline");
      if (result === "later") {
        this.timer = setTimeout(() => this.flush(), this.wait);
        this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
      }
      return;
    }
    this.set("saved");
  }
}
