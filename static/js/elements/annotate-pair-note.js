// What the browser keeps of an answer that is not given yet, so that a reload loses no word; and the note beside it.

const PARTS = ["note", "reasons", "marks", "rating"]; // kept of one seat each, as `note:SEAT`
const MOST_GIVEN = 10; // answers that can be taken back

// What the browser keeps for one person in one project; where storage is off, as long as the page lasts.
export class Kept {
  constructor(key) {
    this.prefix = `prefloop:${key}:`;
    this.unstored = new Map();
  }

  get(name) {
    try {
      return localStorage.getItem(this.prefix + name);
    } catch {
      return this.unstored.get(name) ?? null;
    }
  }

  set(name, value) {
    try {
      if (value) localStorage.setItem(this.prefix + name, value);
      else localStorage.removeItem(this.prefix + name);
    } catch {
      this.unstored.set(name, value || null);
    }
  }

  // An answer is given: what went with it is set aside, and is there again if it is taken back, after a reload too.
  give(seat) {
    const parts = PARTS.map((part) => [part, this.get(`${part}:${seat}`)]).filter(([, value]) => value);
    for (const part of PARTS) this.set(`${part}:${seat}`, null);
    const others = this.given.filter(([of]) => of !== seat);
    this.set("given", JSON.stringify([...(parts.length ? [[seat, parts]] : []), ...others].slice(0, MOST_GIVEN)));
  }

  // A pair or an answer is shown: what went with it when it was given before, unless something else is kept by now.
  takeBack(seat) {
    const found = this.given.find(([of]) => of === seat);
    if (!found) return;
    for (const [part, value] of found[1]) if (this.get(`${part}:${seat}`) === null) this.set(`${part}:${seat}`, value);
    this.set("given", JSON.stringify(this.given.filter(([of]) => of !== seat)));
  }

  get given() {
    try {
      const list = JSON.parse(this.get("given") ?? "[]");
      return Array.isArray(list) ? list : [];
    } catch {
      return []; // what is kept is no list
    }
  }
}

export class Note {
  constructor(desk, kept) {
    this.desk = desk;
    this.details = desk.querySelector("[data-note]");
    this.field = desk.querySelector("[data-note-text]");
    this.dot = desk.querySelector("[data-note-dot]");
    this.kept = kept;
  }

  get text() {
    return this.field.value.trim();
  }

  show(assignment) {
    this.assignment = assignment;
    this.field.value = this.kept.get(`note:${assignment}`) ?? "";
  }

  keep() {
    this.kept.set(`note:${this.assignment}`, this.field.value);
    this.mark();
  }

  // The dot on the button: something is kept for this answer.
  mark() {
    this.dot.hidden = !this.text && !this.desk.reasons.chosen.length;
  }

  toggle() {
    this.details.open = !this.details.open;
    if (this.details.open) this.field.focus();
  }

  // Returns whether the focus was in it, and must go elsewhere.
  close() {
    const hadFocus = this.details.contains(document.activeElement);
    this.details.open = false;
    return hadFocus;
  }
}
