// Short reasons that go with an answer to a pair or a set, in the note's sheet: w opens it at them, digits choose, Esc goes back.
// Those that the guideline on the screen has; what was chosen is kept in the browser until the answer is given.

export class Reasons {
  constructor(desk, kept) {
    this.desk = desk;
    this.kept = kept;
    this.field = desk.querySelector("[data-reasons]");
    this.drawn = desk.guide.version; // the guideline that the chips are of
    this.field.addEventListener("change", () => this.keep());
    this.field.addEventListener("keydown", (event) => this.onKey(event));
  }

  get boxes() {
    return [...this.field.querySelectorAll("input")];
  }

  get isAsked() {
    return this.boxes.length > 0;
  }

  get chosen() {
    return this.isAsked ? this.boxes.filter((box) => box.checked).map((box) => box.value) : [];
  }

  // Called whenever a pair is shown: its guideline may be another one.
  show(assignment) {
    this.assignment = assignment;
    if (this.drawn !== this.desk.guide.version) {
      this.drawn = this.desk.guide.version;
      const chips = this.desk.guide.place.querySelector("[data-reason-chips]");
      this.field.querySelector("[data-reason-list]").replaceChildren(chips.content.cloneNode(true));
    }
    const kept = this.read();
    for (const box of this.boxes) box.checked = kept.includes(box.value);
    for (const one of this.desk.querySelectorAll("[data-when-reasons]")) one.hidden = !this.isAsked;
    this.desk.note.mark();
  }

  read() {
    try {
      return JSON.parse(this.kept.get(`reasons:${this.assignment}`) ?? "[]");
    } catch {
      return []; // what is kept is no list
    }
  }

  keep() {
    const { chosen } = this;
    this.kept.set(`reasons:${this.assignment}`, chosen.length ? JSON.stringify(chosen) : null);
    this.desk.note.mark();
  }

  open() {
    if (!this.isAsked) return;
    this.desk.note.details.open = true;
    this.boxes[0].focus();
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const box = /^[0-9]$/.test(event.key) ? this.boxes[(Number(event.key) || 10) - 1] : null;
    const closes = ["Escape", "Enter", "w"].includes(event.key);
    if (!box && !closes) return;
    event.preventDefault(); // Enter would answer the pair or the set
    event.stopPropagation();
    if (event.repeat) return;
    if (closes) return this.desk.closeNote();
    box.focus(); // so that a screen reader says what was chosen
    box.click();
  }
}
