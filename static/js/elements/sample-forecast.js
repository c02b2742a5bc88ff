// <sample-forecast form="form-id" sizes="json-script-id">: prompts × answers, as the form stands now.
// Needs children [data-total] and [data-sum]; sizes maps a prompt set's id to { train, eval }.
class SampleForecast extends HTMLElement {
  connectedCallback() {
    this.form = document.getElementById(this.getAttribute("form"));
    this.sizes = JSON.parse(document.getElementById(this.getAttribute("sizes"))?.textContent || "{}");
    this.onInput = () => this.draw();
    this.form?.addEventListener("input", this.onInput);
    this.draw();
  }

  disconnectedCallback() {
    this.form?.removeEventListener("input", this.onInput);
  }

  draw() {
    const value = (name) => this.form?.elements.namedItem(name)?.value ?? "";
    const size = this.sizes[value("prompt_set")] || { train: 0, eval: 0 };
    const split = value("split");
    const prompts = split ? size[split] : size.train + size.eval;
    const each = Math.max(0, Math.floor(Number(value("n")) || 0));
    const write = (n) => n.toLocaleString(document.documentElement.lang || "en");
    this.querySelector("[data-total]").textContent = write(prompts * each);
    this.querySelector("[data-sum]").textContent = `${write(prompts)} × ${write(each)}`;
  }
}

customElements.define("sample-forecast", SampleForecast);
