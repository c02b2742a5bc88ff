// Flags the pair on the screen for a lead: f opens the reasons, a digit or a click picks one. The pair stays.
export class FlagSheet {
  constructor(desk) {
    this.desk = desk;
    this.dialog = desk.querySelector("[data-flag-sheet]");
    this.note = this.dialog.querySelector("[data-flag-note]");
    const reasons = [...this.dialog.querySelectorAll("[data-reason]")];
    this.dialog.addEventListener("keydown", (event) => {
      if (!this.dialog.open) return; // it was closed just now, and the next key is for the pair
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target === this.note) return;
      const reason = reasons[Number(event.key) - 1];
      if (!reason) return;
      event.preventDefault();
      event.stopPropagation(); // or the digit would answer the pair
      this.flag(reason.dataset.reason);
    });
    this.dialog.addEventListener("click", (event) => {
      const reason = event.target.closest("[data-reason]");
      if (reason) this.flag(reason.dataset.reason);
      if (event.target.closest("[data-flag-close]")) this.dialog.close();
    });
  }

  open() {
    if (this.desk.current) this.dialog.showModal();
  }

  flag(reason) {
    this.dialog.close();
    const article = this.desk.current;
    if (!article) return;
    const { assignment } = article.dataset;
    this.desk.outbox.push({
      id: `${assignment}:flag:${Date.now()}:${Math.random()}`,
      kind: "flag",
      assignment,
      reason,
      note: this.note.value.trim(),
      said_at: new Date().toISOString(),
    });
    this.note.value = "";
    article.querySelector("[data-act=flag]").setAttribute("aria-pressed", "true");
    this.desk.announce(this.desk.words.flagged);
  }
}
