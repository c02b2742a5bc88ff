// A request of the desk to the server: {ok, status, body, signedOut}; status 0 where it was not reached.
export async function request(url, values, token) {
  const body = new URLSearchParams(values);
  const headers = { Accept: "application/json", "X-CSRFToken": token };
  try {
    const options = { method: "POST", body, headers, redirect: "manual", signal: AbortSignal.timeout(15000) };
    const response = await fetch(url, options);
    if (response.type === "opaqueredirect" || response.status === 401 || response.status === 403)
      return { ok: false, signedOut: true, status: response.status };
    const json = (response.headers.get("Content-Type") ?? "").includes("application/json");
    return { ok: response.ok && json, status: response.status, body: json ? await response.json() : null };
  } catch {
    return { ok: false, status: 0, body: null };
  }
}
