// <file-drop>: the whole box takes a dropped file, says its name, and says at once if it is too large.
// Without this script the plain file input inside does the work.
class FileDrop extends HTMLElement {
  connectedCallback() {
    this.classList.add("is-scripted");
    this.input = this.querySelector("input[type=file]");
    this.word = this.querySelector("[data-name]");
    this.before = this.word.textContent;
    this.input.addEventListener("change", () => this.show());
    for (const name of ["dragenter", "dragover"]) this.addEventListener(name, () => this.classList.add("is-over"));
    for (const name of ["dragleave", "drop"]) this.addEventListener(name, () => this.classList.remove("is-over"));
    this.show();
  }

  show() {
    const file = this.input.files[0];
    const isLarge = Boolean(file) && file.size > Number(this.dataset.maxBytes);
    this.word.textContent = isLarge ? this.dataset.tooLarge : file ? file.name : this.before;
    this.classList.toggle("is-wrong", isLarge);
    this.input.setCustomValidity(isLarge ? this.dataset.tooLarge : "");
  }
}

customElements.define("file-drop", FileDrop);
