// Keys for buttons and links that name theirs: data-keyed="1 ArrowLeft". Without scripts they are clicked.

class KeyedButtons extends HTMLElement {
  connectedCallback() {
    this.listening = new AbortController();
    document.addEventListener("keydown", (event) => this.onKey(event), { signal: this.listening.signal });
  }

  disconnectedCallback() {
    this.listening?.abort();
  }

  onKey(event) {
    if (event.defaultPrevented || event.isComposing || event.repeat) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.closest?.("textarea, select, input, button, a, [contenteditable]") && event.key === "Enter") return;
    if (event.target.closest?.("textarea, select, input, [contenteditable]")) return;
    const keyed = [...this.querySelectorAll("[data-keyed]")];
    const target = keyed.find((one) => one.dataset.keyed.split(" ").includes(event.key));
    if (!target) return;
    event.preventDefault();
    target.click();
  }
}

customElements.define("keyed-buttons", KeyedButtons);
