// The criterion by which the pair on the screen is asked, above the answers' buttons; nothing where there is no named one.

export class CriterionLine {
  constructor(desk) {
    this.desk = desk;
    this.line = desk.querySelector("[data-criterion-line]");
  }

  show() {
    const { criterion = "", question = "" } = this.desk.current?.dataset ?? {};
    this.line.hidden = !criterion;
    this.write("[data-criterion-name]", criterion);
    this.write("[data-criterion-question]", question);
  }

  // Only what has changed: a screen reader reads the line again then.
  write(selector, text) {
    const place = this.line.querySelector(selector);
    if (place.textContent !== text) place.textContent = text;
  }
}
