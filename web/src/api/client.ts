/** Requests to the server that this page comes from. The session's cookie says who asks. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string,
    /** Single errors of the message, each with the setting that it is about. */
    readonly problems: { key: string; message: string }[] = [],
  ) {
    super(message);
  }
}

/** Status of an error that stands for a server that does not answer. */
export const NO_ANSWER = 0;

type Query = Record<string, string | number | boolean | string[] | undefined | null>;

export function address(path: string, query?: Query): string {
  const values = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) values.append(name, String(one));
  }
  const text = values.toString();
  return `/api/v1${path}${text ? `?${text}` : ""}`;
}

/** A path of an image with each part encoded for a URL. */
export const encodePath = (path: string) => path.split("/").map(encodeURIComponent).join("/");

export async function request<T>(method: string, path: string, body?: unknown, query?: Query): Promise<T> {
  const isForm = body instanceof FormData;
  const isBlob = body instanceof Blob;
  let answer: Response;
  try {
    answer = await fetch(address(path, query), {
      method,
      credentials: "same-origin",
      headers: body === undefined || isForm ? {} : { "Content-Type": isBlob ? body.type : "application/json" },
      body: body === undefined ? null : isForm || isBlob ? body : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(NO_ANSWER, "no_answer", "", "");
  }
  const text = await answer.text();
  if (!answer.ok) throw errorOf(answer, text);
  return (text ? JSON.parse(text) : undefined) as T;
}

function errorOf(answer: Response, text: string): ApiError {
  try {
    const { error } = JSON.parse(text) as { error: string | { code: string; message: string; hint: string; problems?: { key: string; message: string }[] } };
    if (typeof error === "string") return new ApiError(answer.status, "failed", error, "");
    return new ApiError(answer.status, error.code, error.message, error.hint, error.problems);
  } catch {
    return new ApiError(answer.status, "failed", `${answer.status} ${answer.statusText}`, "");
  }
}

export const get = <T>(path: string, query?: Query) => request<T>("GET", path, undefined, query);
export const post = <T>(path: string, body: unknown = {}, query?: Query) => request<T>("POST", path, body, query);
export const put = <T>(path: string, body: unknown) => request<T>("PUT", path, body);
export const remove = <T>(path: string) => request<T>("DELETE", path);
