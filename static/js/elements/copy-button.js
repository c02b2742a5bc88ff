// <copy-button text="…"> or <copy-button from="element-id">: wraps a <button>, copies, says so for a moment.
class CopyButton extends HTMLElement {
  connectedCallback() {
    if (!this.querySelector("button")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button button-quiet button-small";
      button.textContent = this.getAttribute("label") || document.body.dataset.sayCopy;
      this.append(button);
    }
    this.addEventListener("click", () => this.copy());
  }

  async copy() {
    const source = this.getAttribute("from");
    const text = source ? document.getElementById(source)?.textContent.trim() ?? "" : this.getAttribute("text") ?? "";
    const button = this.querySelector("button");
    const label = (this.label ??= button.innerHTML); // `before` is a method of every element
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = this.getAttribute("done") || document.body.dataset.sayCopied;
    } catch {
      button.textContent = document.body.dataset.sayCopyByHand;
      const range = document.createRange();
      const node = source && document.getElementById(source);
      if (node) {
        range.selectNodeContents(node);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
      }
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (button.innerHTML = label), 1600);
  }
}

customElements.define("copy-button", CopyButton);
