// Keys for a pair on which people split: 1 to 4 decide, j and k move, u undoes. Without scripts the buttons do the same.

const CHOICES = { 1: "first", 2: "second", 3: "tie", 4: "both_bad" };

class SplitPair extends HTMLElement {
  connectedCallback() {
    this.listening = new AbortController();
    document.addEventListener("keydown", (event) => this.onKey(event), { signal: this.listening.signal });
  }

  disconnectedCallback() {
    this.listening?.abort();
  }

  onKey(event) {
    if (event.defaultPrevented || event.isComposing || event.repeat) return;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("textarea, select, input, [contenteditable]")) return;
    const key = event.key.toLowerCase();
    const target =
      key in CHOICES
        ? this.querySelector(`button[value=${CHOICES[key]}]`)
        : key === "u"
          ? document.querySelector("[data-undo] button")
          : key === "j" || key === "k"
            ? this.querySelector(`[data-go=${key}]`)
            : null;
    if (!target) return;
    event.preventDefault();
    target.click();
  }
}

customElements.define("split-pair", SplitPair);
