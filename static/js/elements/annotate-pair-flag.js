// Flags the pair on the screen for a lead: f opens the reasons, a digit or a click picks one. The pair stays.
export class FlagSheet {
  constructor(desk) {
    this.desk = desk;
    this.dialog = desk.querySelector("[data-flag-sheet]");
    this.note = this.dialog.querySelector("[data-flag-note]");
    this.back = this.dialog.querySelector("[data-unflag]");
    const reasons = [...this.dialog.querySelectorAll("[data-reason]")];
    this.dialog.addEventListener("keydown", (event) => {
      if (!this.dialog.open) return; // it was closed just now, and the next key is for the pair
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target === this.note) return;
      const reason = reasons[Number(event.key) - 1];
      const takesBack = event.key === "0" && !this.back.hidden;
      if (!reason && !takesBack) return;
      event.preventDefault();
      event.stopPropagation(); // or the digit would answer the pair
      if (takesBack) this.unflag();
      else this.flag(reason.dataset.reason);
    });
    this.back.addEventListener("click", () => this.unflag());
    this.dialog.addEventListener("click", (event) => {
      const reason = event.target.closest("[data-reason]");
      if (reason) this.flag(reason.dataset.reason);
      if (event.target.closest("[data-flag-close]")) this.dialog.close();
    });
  }

  open() {
    if (!this.desk.current) return;
    this.back.hidden = this.button.getAttribute("aria-pressed") !== "true";
    this.dialog.showModal();
  }

  get button() {
    return this.desk.current?.querySelector("[data-act=flag]");
  }

  flag(reason) {
    this.send({ reason, note: this.note.value.trim(), said_at: new Date().toISOString() }, true);
    this.note.value = "";
  }

  unflag() {
    this.send({ withdraw: 1 }, false);
  }

  send(said, isFlagged) {
    this.dialog.close();
    if (!this.desk.current) return;
    const { assignment } = this.desk.current.dataset;
    this.desk.outbox.push({ id: `${assignment}:flag:${Date.now()}:${Math.random()}`, kind: "flag", assignment, ...said });
    this.button.setAttribute("aria-pressed", String(isFlagged));
    this.desk.announce(isFlagged ? this.desk.words.flagged : this.desk.words.unflagged);
  }
}
