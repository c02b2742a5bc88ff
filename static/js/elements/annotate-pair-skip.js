// Before a pair is skipped it is asked why: a digit or a click picks a reason, Enter or s again gives none, Esc goes back.
export class SkipSheet {
  constructor(desk, skip) {
    this.dialog = desk.querySelector("[data-skip]");
    const choices = [...this.dialog.querySelectorAll("[data-why]")];
    const choose = (choice) => {
      this.dialog.close();
      skip(choice.dataset.why);
    };
    this.dialog.addEventListener("keydown", (event) => {
      if (!this.dialog.open) return; // it was closed just now, and the next key is for the pair
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      const choice = event.key.toLowerCase() === "s" ? choices.at(-1) : choices.slice(0, -1)[Number(event.key) - 1];
      if (!choice) return;
      event.preventDefault();
      event.stopPropagation(); // or the digit would answer the next pair
      choose(choice);
    });
    this.dialog.addEventListener("click", (event) => {
      const choice = event.target.closest("[data-why]");
      if (choice) choose(choice);
      if (event.target.closest("[data-skip-close]")) this.dialog.close();
    });
  }

  open() {
    this.dialog.showModal();
  }
}
