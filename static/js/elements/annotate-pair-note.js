// A note beside a pair: kept in the browser until its answer is given, so that a reload loses no word.

// What the browser keeps for one person in one project; nothing where storage is off.
export class Kept {
  constructor(key) {
    this.prefix = `prefloop:${key}:`;
  }

  get(name) {
    try {
      return localStorage.getItem(this.prefix + name);
    } catch {
      return null;
    }
  }

  set(name, value) {
    try {
      if (value) localStorage.setItem(this.prefix + name, value);
      else localStorage.removeItem(this.prefix + name);
    } catch {
      // storage is off: it lasts as long as the page
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

  forget(assignment) {
    this.kept.set(`note:${assignment}`, null);
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
