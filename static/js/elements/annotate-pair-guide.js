// The guideline that is on the screen. It is opened at a person's first session here. A new version comes with the next
// pair, opened, and is marked until it was seen.

export class Guide {
  constructor(desk, kept) {
    this.desk = desk;
    this.kept = kept;
    this.coming = null; // {version, html}: in force, and not on the screen yet
    this.listen();
    const seen = this.kept.get("guideline"); // the version that this browser showed last
    const isNew = seen ? seen !== this.version : "changed" in this.place.dataset;
    if (this.version && isNew) this.present();
    else if (!seen && "first" in this.place.dataset) this.present({ changed: false });
    else {
      if (this.details) this.details.open = false;
      this.seen();
    }
  }

  get place() {
    return this.desk.querySelector("[data-guide-place]");
  }

  get details() {
    return this.desk.querySelector("[data-guide]");
  }

  get version() {
    return this.place.dataset.guideline;
  }

  // What a reply of the server says of the guideline: nothing, where the one on the screen is in force.
  hear(guide) {
    if (guide) this.coming = guide.version === this.version ? null : guide;
  }

  // Called before another pair is shown. Returns whether its guideline is a new one.
  turn() {
    const coming = this.coming;
    this.coming = null;
    if (!coming || coming.version === this.version) return false;
    this.kept.set("guideline", this.version);
    this.place.outerHTML = coming.html;
    this.listen();
    this.present();
    return true;
  }

  toggle() {
    if (this.details) this.details.open = !this.details.open;
  }

  listen() {
    this.details?.addEventListener("toggle", () => {
      // opened by itself is not seen yet: the person closes it when they have read it
      if (this.details.open && this.isPresenting) return;
      this.seen();
    });
  }

  present({ changed = true } = {}) {
    this.isPresenting = true;
    this.mark(changed);
    if (this.details) this.details.open = true;
  }

  seen() {
    this.isPresenting = false;
    this.mark(false);
    this.kept.set("guideline", this.version);
  }

  mark(isNew) {
    for (const one of this.place.querySelectorAll("[data-guide-changed]")) one.hidden = !isNew;
  }
}
