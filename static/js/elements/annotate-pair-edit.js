// Opens the page on which one edits the answer that was chosen last, once that choice is with the server.

const SIDES = new Set(["left", "right"]);

export class EditLast {
  constructor(desk) {
    this.desk = desk;
    this.chosen = new WeakMap(); // of each answered pair, the side that was chosen
  }

  keep(article, choice) {
    if (SIDES.has(choice)) this.chosen.set(article, choice);
    else this.chosen.delete(article);
  }

  async open() {
    const article = this.desk.answered.findLast((one) => this.chosen.has(one));
    if (!("editAt" in this.desk.dataset) || !article) return;
    await this.desk.outbox.flush();
    if (this.desk.outbox.size) return this.desk.notice(this.desk.words.editOffline);
    const pair = /(\d+)\/$/.exec(article.dataset.permalink)[1];
    location.href = `${this.desk.dataset.editAt}${pair}/edit/${this.chosen.get(article)}/`;
  }
}
