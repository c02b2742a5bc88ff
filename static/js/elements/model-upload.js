// <model-upload action="/p/x/policies/uploads/">: sends a model's files in pieces, and goes on where it stopped.
//
// Children: an input[type=file] with the files, [data-name] with the model's name, [data-send], [data-stop],
// [data-progress] (a progress element), [data-said] for words. What has arrived is asked for before a file is sent, so
// that the same files chosen again go on after a closed tab; a lost connection is tried again for five minutes.
const PATIENCE = 300_000;

class ModelUpload extends HTMLElement {
  connectedCallback() {
    this.hidden = false;
    this.input = this.querySelector("input[type=file]");
    this.name = this.querySelector("[data-name]");
    this.bar = this.querySelector("[data-progress]");
    this.said = this.querySelector("[data-said]");
    this.send = this.querySelector("[data-send]");
    this.stop = this.querySelector("[data-stop]");
    this.input.addEventListener("change", () => this.propose());
    this.send.addEventListener("click", () => this.run());
    this.stop.addEventListener("click", () => this.abort?.abort());
    this.onLeave = (event) => this.abort && event.preventDefault();
    window.addEventListener("beforeunload", this.onLeave);
  }

  disconnectedCallback() {
    window.removeEventListener("beforeunload", this.onLeave);
    this.abort?.abort();
  }

  propose() {
    const [file] = this.input.files;
    if (!file || this.name.value) return;
    const folder = file.webkitRelativePath.split("/")[0];
    this.name.value = (folder || (this.input.files.length === 1 ? file.name.replace(/\.(gguf|zip)$/i, "") : ""))
      .replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 100);
  }

  say(text, isWrong = false) {
    this.said.textContent = text;
    this.said.classList.toggle("field-errors", isWrong);
  }

  async run() {
    const files = [...this.input.files];
    if (!files.length) return this.say(this.dataset.choose, true);
    if (!this.name.reportValidity() || !this.name.value) return this.say(this.dataset.unnamed, true);
    this.abort = new AbortController();
    this.busy(true);
    try {
      const sizes = files.map((file) => ({ name: file.name, size: file.size }));
      const plan = await this.post("", JSON.stringify({ name: this.name.value, files: sizes }), "application/json");
      this.total = plan.files.reduce((sum, file) => sum + file.size, 0);
      this.done = plan.files.reduce((sum, file) => sum + file.have, 0);
      this.began = { at: Date.now(), done: this.done };
      const left = plan.left_out.length ? `${this.dataset.leftOut} ${plan.left_out.join(", ")}` : "";
      for (const { name, size, have } of plan.files) {
        await this.sendFile(files.find((file) => file.name === name), name, size, have, plan.piece_bytes, left);
      }
      this.say(this.dataset.checking);
      const { next } = await this.post(`${encodeURIComponent(this.name.value)}/finish/`, "");
      this.abort = null;
      location.assign(next);
    } catch (error) {
      this.say(this.abort?.signal.aborted ? this.dataset.stopped : error.message, !this.abort?.signal.aborted);
    } finally {
      this.abort = null;
      this.busy(false);
    }
  }

  busy(is) {
    this.send.disabled = this.input.disabled = this.name.disabled = is;
    this.stop.hidden = this.bar.hidden = !is;
  }

  async sendFile(file, name, size, have, pieceBytes, left) {
    while (have < size) {
      this.show(name, left);
      const path = `${encodeURIComponent(this.name.value)}/?${new URLSearchParams({ file: name, offset: have })}`;
      const before = have;
      ({ have } = await this.post(path, file.slice(have, Math.min(size, have + pieceBytes))));
      this.done += have - before;
    }
  }

  show(name, left) {
    this.bar.max = this.total || 1;
    this.bar.value = this.done;
    const seconds = (Date.now() - this.began.at) / 1000;
    const rate = (this.done - this.began.done) / Math.max(seconds, 0.001);
    const mb = (n) => (n / 2 ** 20).toLocaleString(document.documentElement.lang || "en", { maximumFractionDigits: 0 });
    const rest = rate > 0 && seconds > 2 ? ` · ${mb(rate)} MiB/s · ${Math.ceil((this.total - this.done) / rate)} s` : "";
    this.say(`${name}: ${mb(this.done)} / ${mb(this.total)} MiB${rest}${left ? ` · ${left}` : ""}`);
  }

  // A refusal is final; a server that can't be reached or fails is asked again, more slowly each time. A piece whose
  // answer was lost may have arrived: the server then says how much it has.
  async post(path, body, type = "application/octet-stream") {
    const headers = { "Content-Type": type, "X-CSRFToken": this.querySelector("[name=csrfmiddlewaretoken]").value };
    const until = Date.now() + PATIENCE;
    for (let pause = 500; ; pause = Math.min(pause * 2, 10_000)) {
      let response = null;
      try {
        response = await fetch(new URL(path, new URL(this.getAttribute("action"), location.href)), {
          method: "POST", body, headers, credentials: "same-origin", signal: this.abort.signal,
        });
      } catch (error) {
        if (this.abort.signal.aborted) throw error;
      }
      const said = response && (await response.json().catch(() => ({})));
      if (response?.ok || (response?.status === 409 && "have" in said)) return said;
      if (response && response.status < 500 && response.status !== 429) throw new Error(said.detail || `${response.status}`);
      if (Date.now() > until) throw new Error(this.dataset.lost);
      this.say(this.dataset.waiting);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

customElements.define("model-upload", ModelUpload);
