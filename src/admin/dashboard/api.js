// The admin API: requests with the token, and polls.

const TOKEN = "mqtt-lb admin token";

/** Longer than the proxy takes to report that a worker did not answer. */
const TIMEOUT_MS = 10_000;

export class ApiError extends Error {
  /** `body` is the JSON of the response. */
  constructor(status, body) {
    super(body.error ?? `the proxy responded with ${status}`);
    this.status = status;
    this.body = body;
  }
}

/** The token, kept until the tab is closed. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

let refused = () => {};

/** `then` is called after each 401. */
export function onRefused(then) {
  refused = then;
}

export const get = (path) => request("GET", path);

/** The JSON of the response, if it has any. Throws an `ApiError`, or an `Error` to show. */
export async function request(method, path, body) {
  try {
    return await send(method, path, body, token.get());
  } catch (error) {
    if (error.status === 401) refused();
    throw error;
  }
}

/** Whether this token is accepted; throws if the proxy does not respond. */
export async function isGood(candidate) {
  try {
    await send("GET", "/api/v1/status", undefined, candidate);
    return true;
  } catch (error) {
    if (error.status === 401) return false;
    throw error;
  }
}

async function send(method, path, body, bearer) {
  const headers = { Accept: "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    body: body && JSON.stringify(body),
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch((error) => {
    throw new Error(
      error.name === "TimeoutError"
        ? "no response within 10 s"
        : "cannot connect to its admin listener",
    );
  });
  if (answer.status === 204) return undefined;
  const parsed = await answer.json().catch(() => undefined);
  if (!answer.ok) throw new ApiError(answer.status, parsed ?? {});
  if (!parsed) throw new Error("the response is not JSON");
  return parsed;
}

const EVERY_MS = 2_000;

/** The longest pause after failures, so that a hundred open pages don't load a proxy in trouble. */
const MAX_PAUSE_MS = 30_000;

/** Polls one path: one request at a time, less often while it fails, not while the page is hidden. */
export class Poller {
  /** When the last good response arrived; undefined before the first. */
  lastGood;
  /** Why the last request failed; undefined if it succeeded. */
  error;
  /** When the next request is due. */
  due;

  #path;
  #taken;
  #told;
  #timer;
  #isBusy = false;
  #isStopped = false;
  #isOverdue = false;
  #failures = 0;

  /** `path` returns each request's path, `taken` gets the responses, `told` is called after each. */
  constructor(path, taken, told) {
    this.#path = path;
    this.#taken = taken;
    this.#told = told;
  }

  /** Polls now; the response to a request in progress is then outdated. */
  async poll() {
    clearTimeout(this.#timer);
    this.#isStopped = false;
    if (this.#isBusy) {
      this.#isOverdue = true;
      return;
    }
    this.#isBusy = true;
    do {
      this.#isOverdue = false;
      await this.#ask();
    } while (this.#isOverdue && !this.#isStopped);
    this.#isBusy = false;
    if (!this.#isStopped) this.#wait();
    this.#told();
  }

  /** Stops until `poll`. */
  stop() {
    clearTimeout(this.#timer);
    this.#isStopped = true;
  }

  /** Call when the page is hidden or visible again. */
  seen(isSeen) {
    clearTimeout(this.#timer);
    if (isSeen && !this.#isStopped) this.poll();
  }

  async #ask() {
    try {
      const answer = await get(this.#path());
      if (this.#isOverdue) return;
      this.#taken(answer);
      [this.lastGood, this.error, this.#failures] = [Date.now(), undefined, 0];
    } catch (error) {
      if (!(error instanceof ApiError)) console.debug(error);
      this.error = error;
      this.#failures += 1;
    }
  }

  #wait() {
    const pause = Math.min(MAX_PAUSE_MS, EVERY_MS * 2 ** this.#failures);
    this.due = Date.now() + pause;
    if (!document.hidden) this.#timer = setTimeout(() => this.poll(), pause);
  }
}
