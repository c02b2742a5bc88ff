// Auto, light, dark in turn. The page changes at once; a cookie keeps it, and for people signed in their profile does.
const THEMES = ["auto", "light", "dark"];
const ICONS = { auto: "contrast", light: "sun", dark: "moon" };
const WORDS = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

class ThemeSwitch extends HTMLElement {
  connectedCallback() {
    this.icons = document.querySelector(".brand use").getAttribute("href").split("#")[0];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "topbar-item";
    button.addEventListener("click", () => this.next());
    this.replaceChildren(button);
    this.draw();
  }

  get theme() {
    return document.documentElement.dataset.theme || "auto";
  }

  draw() {
    const button = this.firstElementChild;
    button.setAttribute("aria-label", WORDS[this.theme]);
    button.title = WORDS[this.theme];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${this.icons}#${ICONS[this.theme]}`);
    svg.append(use);
    button.replaceChildren(svg);
  }

  next() {
    this.set(THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]);
  }

  set(theme) {
    document.documentElement.dataset.theme = theme;
    document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
    this.draw();
    document.dispatchEvent(new CustomEvent("theme-change", { detail: theme }));
    const token = JSON.parse(document.body.getAttribute("hx-headers") || "{}")["X-CSRFToken"];
    if (document.getElementById("palette-entries")) {
      fetch("/account/theme/", { method: "POST", headers: { "X-CSRFToken": token }, body: new URLSearchParams({ theme }) });
    }
  }
}

customElements.define("theme-switch", ThemeSwitch);
