// Ctrl K: every page and action by name. Entries come from a json_script element named by data-source.
class CommandPalette extends HTMLElement {
  connectedCallback() {
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        this.toggle();
      }
    });
    document.addEventListener("click", (event) => {
      if (event.target.closest?.("[data-open-palette]")) this.toggle();
    });
  }

  build() {
    this.entries = JSON.parse(document.getElementById(this.dataset.source)?.textContent || "[]");
    this.dialog = document.createElement("dialog");
    this.dialog.className = "palette";
    this.dialog.setAttribute("aria-label", this.dataset.placeholder);
    this.input = document.createElement("input");
    this.input.className = "palette-input";
    this.input.type = "text";
    this.input.placeholder = this.dataset.placeholder;
    this.input.setAttribute("role", "combobox");
    this.input.setAttribute("aria-expanded", "true");
    this.input.setAttribute("aria-controls", "palette-list");
    this.input.setAttribute("aria-label", this.dataset.placeholder);
    this.input.autocomplete = "off";
    this.input.spellcheck = false;
    this.list = document.createElement("div");
    this.list.className = "palette-list";
    this.list.id = "palette-list";
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", this.dataset.placeholder);
    this.dialog.append(this.input, this.list);
    this.append(this.dialog);
    this.found = [];
    this.input.addEventListener("input", () => {
      this.draw();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.search(), 120);
    });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
      const item = event.target.closest("[role=option]");
      if (item?.dataset.url) location.assign(item.dataset.url);
      if (item?.dataset.theme) {
        document.querySelector("theme-switch")?.set(item.dataset.theme);
        this.dialog.close();
      }
    });
  }

  toggle() {
    if (!this.dialog) this.build();
    if (this.dialog.open) return this.dialog.close();
    this.input.value = "";
    this.found = [];
    this.draw();
    this.dialog.showModal();
    this.input.focus();
  }

  // What only the server knows by name: recipes, loops, prompts.
  async search() {
    const query = this.input.value.trim();
    if (!this.dataset.search || !query) return;
    const url = `${this.dataset.search}?q=${encodeURIComponent(query)}`;
    const response = await fetch(url, { redirect: "manual" }).catch(() => null);
    if (!response?.ok || query !== this.input.value.trim()) return;
    this.found = (await response.json()).entries;
    this.draw();
  }

  // Every letter must occur in order; runs and word starts rank higher.
  score(text, query) {
    let score = 0;
    let at = -1;
    for (const letter of query) {
      const found = text.indexOf(letter, at + 1);
      if (found < 0) return -1;
      score += found === at + 1 ? 3 : 0;
      score += found === 0 || text[found - 1] === " " ? 4 : 0;
      score -= found * 0.02;
      at = found;
    }
    return score;
  }

  draw() {
    const query = this.input.value.trim().toLowerCase();
    const found = this.entries
      .map((entry) => [query ? this.score(entry.label.toLowerCase(), query) : 0, entry])
      .filter(([score]) => score >= 0)
      .sort((one, other) => other[0] - one[0])
      .slice(0, 40)
      .concat(query ? this.found.map((entry) => [0, entry]) : []);
    this.list.replaceChildren(...found.map(([, entry], index) => this.item(entry, index)));
    if (!found.length) {
      const nothing = document.createElement("div");
      nothing.className = "palette-empty";
      nothing.textContent = this.dataset.empty;
      this.list.append(nothing);
    }
    this.choose(0);
  }

  item(entry, index) {
    const item = document.createElement("div");
    item.className = "palette-item";
    item.id = `palette-${index}`;
    item.setAttribute("role", "option");
    if (entry.url) item.dataset.url = entry.url;
    if (entry.theme) item.dataset.theme = entry.theme;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${this.dataset.icons}#${entry.icon}`);
    svg.append(use);
    const label = document.createElement("span");
    label.textContent = entry.label;
    const group = document.createElement("span");
    group.className = "group";
    group.textContent = entry.group;
    item.append(svg, label, group);
    item.addEventListener("mousemove", () => this.choose(index));
    return item;
  }

  choose(index) {
    const items = [...this.list.querySelectorAll("[role=option]")];
    this.chosen = items.length ? (index + items.length) % items.length : -1;
    items.forEach((item, at) => item.setAttribute("aria-selected", String(at === this.chosen)));
    if (this.chosen >= 0) {
      this.input.setAttribute("aria-activedescendant", items[this.chosen].id);
      items[this.chosen].scrollIntoView({ block: "nearest" });
    } else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      this.choose(this.chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.list.querySelector('[aria-selected="true"]')?.click();
    }
  }
}

customElements.define("command-palette", CommandPalette);
