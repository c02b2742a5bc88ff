// <loop-form src="…/forecast/"><form>…<div data-forecast></div></form></loop-form>
//
// Asks the server what the form as it stands would cost, half a second after the last change, and shows the answer in
// [data-forecast]. The newest question wins; without scripts the forecast of the defaults stays.
const PAUSE = 300;

class LoopForm extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.shown = this.querySelector("[data-forecast]");
    this.form.addEventListener("input", () => this.soon());
    this.form.addEventListener("change", () => this.soon());
    this.form.addEventListener("submit", () => this.submitting());
    window.addEventListener("pageshow", () => this.ready());
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), PAUSE);
  }

  async ask() {
    this.asked?.abort();
    this.asked = new AbortController();
    const values = new URLSearchParams(new FormData(this.form));
    values.delete("csrfmiddlewaretoken");
    try {
      const address = this.getAttribute("src");
      const response = await fetch(`${address}${address.includes("?") ? "&" : "?"}${values}`, { signal: this.asked.signal, credentials: "same-origin" });
      if (!response.ok) throw new Error(String(response.status));
      this.shown.innerHTML = await response.text();
      this.shown.removeAttribute("data-stale");
    } catch (error) {
      if (error.name !== "AbortError") this.shown.setAttribute("data-stale", "");
    }
  }

  // one press is one loop
  submitting() {
    const button = this.form.querySelector("button[type=submit]");
    if (button) setTimeout(() => { button.disabled = true; });
  }

  // once the page is there, and when it comes back from the history: what was typed before the script came counts too
  ready() {
    const button = this.form.querySelector("button[type=submit]");
    if (button) button.disabled = false;
    this.soon();
  }
}

customElements.define("loop-form", LoopForm);
