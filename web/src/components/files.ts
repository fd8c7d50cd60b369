/** A file as a data: URL. */
export function dataUrl(file: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("unreadable"));
    reader.readAsDataURL(file);
  });
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytesText(bytes: number, language: string): string {
  const power = Math.min(UNITS.length - 1, bytes > 0 ? Math.floor(Math.log10(bytes) / 3) : 0);
  return `${(bytes / 1000 ** power).toLocaleString(language, { maximumFractionDigits: power ? 1 : 0 })} ${UNITS[power]}`;
}

/** The bytes of a data: URL with base64. Fetching one is not allowed here: the page connects to its server alone. */
export function blobOf(url: string): Blob {
  const [head = "", text = ""] = url.split(",");
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: /^data:([^;]+)/.exec(head)?.[1] ?? "application/octet-stream" });
}
