// SPDX-License-Identifier: Apache-2.0
// Requests to the API that serves this page.

const TOKEN = "portico.token";

/** An answer that is no success: `status`, Neutron's `type`, and for 401 the `challenge`. */
export class Refused extends Error {
  constructor(status, type, message, challenge) {
    super(message);
    Object.assign(this, { status, type, challenge });
  }
}

/** Use a token from now on, in this tab alone; an empty one ends that. */
export function signIn(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

/** Say in one way what each browser says in its own. */
function unanswered(error) {
  throw error.name === "AbortError" ? error : new Error("the server does not answer", { cause: error });
}

/** Send a request and return the response of a success. */
export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers["X-Auth-Token"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) };
  const response = await fetch(path, options).catch(unanswered);
  if (response.ok) return response;
  const fault = (await response.json().catch(() => ({}))).NeutronError ?? {};
  const words = fault.message ?? `${method} ${path}: ${response.status}`;
  throw new Refused(response.status, fault.type ?? "", words, response.headers.get("WWW-Authenticate") ?? "");
}

export async function get(path, options) {
  return (await request(path, options)).json();
}

/** Get what this server may not have, or not for who asks: null then. */
export async function getIfThere(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused && [403, 404].includes(error.status)) return null;
    throw error;
  }
}

/** Yield the lines of an endless answer, first none as soon as it begins, until `ending`; long silence ends it, too. */
export async function* lines(path, silence_ms, ending) {
  let timer = setTimeout(() => ending.abort(), silence_ms);
  try {
    const reader = (await request(path, { signal: ending.signal })).body.getReader();
    const decoder = new TextDecoder();
    yield [];
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), silence_ms);
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop();
      yield parts.filter((line) => line);
    }
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
}
