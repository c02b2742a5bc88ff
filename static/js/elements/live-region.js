// <live-region src="/p/x/part/" every="2" since="17">…server-rendered content…</live-region>
//
// Asks `src?since=TOKEN` every so many seconds. 204: nothing changed. 200: the HTML replaces the content and the
// header X-Since carries the next token. X-Poll: stop ends the asking (the thing is done); a number changes the pace.
// Waits while the tab is hidden, backs off while the server fails, and never replaces what a person is typing in.
// Focus, open <details> and scroll positions survive. Sends "live-update" after each change.
const SLOWEST = 30;

class LiveRegion extends HTMLElement {
  connectedCallback() {
    this.every = Number(this.getAttribute("every") || 2);
    this.pace = this.every;
    this.onVisible = () => !document.hidden && this.ask();
    document.addEventListener("visibilitychange", this.onVisible);
    this.plan();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.onVisible);
    clearTimeout(this.timer);
    this.stopped = true;
  }

  plan() {
    clearTimeout(this.timer);
    if (!this.stopped) this.timer = setTimeout(() => this.ask(), this.pace * 1000);
  }

  async ask() {
    if (this.busy || this.stopped) return;
    if (document.hidden || this.isBeingUsed()) return this.plan();
    this.busy = true;
    try {
      const url = new URL(this.getAttribute("src"), location.href);
      const since = this.getAttribute("since");
      if (since) url.searchParams.set("since", since);
      const headers = { "X-Requested-With": "live-region", "HX-Request": "true" };
      const response = await fetch(url, { headers, credentials: "same-origin", redirect: "manual" });
      if (response.type === "opaqueredirect" || response.status === 403 || response.status === 404) {
        this.stopped = true;
        return;
      }
      if (response.status === 200) this.replace(await response.text());
      if (response.ok) this.read(response);
      this.pace = response.ok ? this.every : Math.min(this.pace * 2, SLOWEST);
      this.toggleAttribute("data-stale", !response.ok);
    } catch {
      this.pace = Math.min(this.pace * 2, SLOWEST);
      this.toggleAttribute("data-stale", true);
    } finally {
      this.busy = false;
      this.plan();
    }
  }

  read(response) {
    const since = response.headers.get("X-Since");
    if (since) this.setAttribute("since", since);
    const poll = response.headers.get("X-Poll");
    if (poll === "stop") this.stopped = true;
    else if (poll) this.every = Number(poll) || this.every;
  }

  isBeingUsed() {
    const active = document.activeElement;
    return this.contains(active) && active.matches("input, textarea, select, [contenteditable]");
  }

  replace(html) {
    const focused = this.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...this.querySelectorAll("details[id][open]")].map((node) => node.id);
    const scrolled = [...this.querySelectorAll("[id]")].filter((node) => node.scrollTop || node.scrollLeft).map((node) => [node.id, node.scrollTop, node.scrollLeft]);
    this.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, top, left] of scrolled) document.getElementById(id)?.scrollTo(left, top);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    window.htmx?.process(this);
    this.dispatchEvent(new CustomEvent("live-update", { bubbles: true }));
  }
}

customElements.define("live-region", LiveRegion);
