import DOMPurify from "dompurify";
import { Marked } from "marked";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { address, encodePath } from "../../api/client";

const FRONT_MATTER = /^---\n([\s\S]*?)\n---\n/;
const SHIFT = 2;
/** Headings of the card stand below those of the page. */
const marked = new Marked({
  gfm: true,
  async: false,
  walkTokens: (token) => {
    if (token.type === "heading") token.depth = Math.min(6, token.depth + SHIFT);
  },
});
const ALLOWED = { FORBID_TAGS: ["style", "form", "input", "button", "textarea", "select", "iframe"], FORBID_ATTR: ["style", "id", "name"], RETURN_DOM_FRAGMENT: true as const };

/** A model card as its readers see it. Its images are those of the run, whose files stand in `sources`. */
export function Card({ text, sources, run }: { text: string; sources: Record<string, string>; run: string }) {
  const { t } = useTranslation();
  const holder = useRef<HTMLDivElement>(null);
  const fields = FRONT_MATTER.exec(text)?.[1] ?? "";
  useEffect(() => {
    holder.current?.replaceChildren(rendered(text.replace(FRONT_MATTER, ""), sources, run));
  }, [text, sources, run]);
  return (
    <div className="card">
      <div className="markdown" ref={holder} />
      {fields && <details style={{ marginTop: 18 }}><summary>{t("pages.publish.fields")}</summary><pre className="code" tabIndex={0} style={{ marginTop: 10 }}>{fields}</pre></details>}
    </div>
  );
}

function rendered(body: string, sources: Record<string, string>, run: string): DocumentFragment {
  const gallery = Object.keys(sources).filter((name) => !name.endsWith("-base.png")).map((name) => `<img src="${name}" width="160" alt="">`).join(" ");
  const html = marked.parse(body.replace("<Gallery />", () => gallery)) as string;
  const fragment = DOMPurify.sanitize(html, ALLOWED);
  for (const image of fragment.querySelectorAll("img")) {
    const source = sources[decodeURI(image.getAttribute("src") ?? "")];
    if (source) image.src = address(`/runs/${encodeURIComponent(run)}/${encodePath(source)}`);
    else image.removeAttribute("src"); // no other host is asked
    image.loading = "lazy";
  }
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const code of fragment.querySelectorAll("pre")) {
    code.classList.add("code");
    code.tabIndex = 0;
  }
  for (const table of fragment.querySelectorAll("table")) {
    const scrolls = document.createElement("div");
    scrolls.className = "scrolls";
    scrolls.tabIndex = 0;
    table.replaceWith(scrolls);
    scrolls.append(table);
  }
  return fragment;
}
