import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { type About, draw, type Left, NO_ANSWER, type Part, ShareError, type VisitorPicture } from "./api";

const hasOptions = (part: Part): part is { name: string; options: string[] } => "options" in part;
const textOf = (parts: Part[], chosen: string[]) => parts.map((part, i) => (hasOptions(part) ? (chosen[i] ?? "") : part.text)).join("").replace(/\s+/g, " ").trim();

interface Filled {
  number: number;
  /** By the number of the part. */
  chosen: string[];
}

/** What to draw: the owner's templates, the visitor's words, and how many pictures remain. */
export function PromptForm({ about, words, onDrawn, onRefused }: { about: About; words: { text: string; at: number }; onDrawn: (picture: VisitorPicture) => void; onRefused: () => void }) {
  const { t } = useTranslation();
  const [prompt, setPrompt] = useState("");
  const [filled, setFilled] = useState<Filled | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ShareError | null>(null);
  const [removed, setRemoved] = useState<string[]>([]);
  const box = useRef<HTMLTextAreaElement>(null);
  const used = about.left.find((one) => one.left === 0);
  useEffect(() => {
    if (!words.text) return;
    setPrompt(words.text.slice(0, about.prompt_characters));
    setFilled(null);
    box.current?.focus();
    box.current?.scrollIntoView({ block: "center", behavior: "smooth" });
  }, [words, about.prompt_characters]);

  const fill = (number: number, chosen: string[]) => {
    setFilled({ number, chosen });
    setPrompt(textOf(about.templates[number] ?? [], chosen).slice(0, about.prompt_characters));
  };
  const send = async (event?: FormEvent) => {
    event?.preventDefault();
    if (!prompt.trim() || busy || used || !about.open) return;
    setBusy(true);
    setError(null);
    try {
      const picture = await draw(prompt);
      setRemoved(picture.removed);
      onDrawn(picture);
    } catch (problem) {
      setError(problem as ShareError);
    } finally {
      setBusy(false);
      onRefused();
    }
  };
  const keys = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void send();
  };
  return (
    <form className="card" onSubmit={(event) => void send(event)}>
      {about.templates.length > 0 && <Templates about={about} filled={filled} onFill={fill} />}
      <label htmlFor="words">{t("share.visit.words")}</label>
      <textarea
        id="words" ref={box} rows={3} value={prompt} maxLength={about.prompt_characters} onKeyDown={keys}
        placeholder={about.subject ? t("share.visit.example", { subject: about.subject }) : t("share.visit.exampleAlone")}
        onChange={(event) => { setPrompt(event.currentTarget.value); setFilled(null); }}
      />
      <p className="note between">
        <span>{about.subject && t("share.visit.always", { subject: about.subject })}</span>
        <span aria-label={t("share.visit.characters")}>{prompt.length} / {about.prompt_characters}</span>
      </p>
      <button type="submit" className="main" disabled={!prompt.trim() || busy || used !== undefined || !about.open}>{busy ? t("share.visit.sending") : t("generate.draw")}</button>
      <div role="status">
        {!about.open && <p className="message">{t("share.visit.away")}</p>}
        {about.open && used && <UsedUp limit={used} />}
        {about.open && !used && <Remaining about={about} />}
        {removed.length > 0 && <p className="message">{t("share.visit.tags", { tags: removed.join(" ") })}</p>}
      </div>
      <div role="alert">{error && !used && <p className="message bad"><Why error={error} /></p>}</div>
    </form>
  );
}

function Templates({ about, filled, onFill }: { about: About; filled: Filled | null; onFill: (number: number, chosen: string[]) => void }) {
  const { t } = useTranslation();
  const any = (parts: Part[]) => parts.map((part) => (hasOptions(part) ? (part.options[Math.floor(Math.random() * part.options.length)] ?? "…") : ""));
  const parts = filled ? (about.templates[filled.number] ?? []) : [];
  const set = (i: number, value: string) => filled && onFill(filled.number, filled.chosen.map((one, at) => (at === i ? value : one)));
  return (
    <fieldset>
      <legend>{t("share.visit.ideas")}</legend>
      <div className="chips">
        {about.templates.map((one, number) => (
          <button key={number} type="button" className="chip" aria-pressed={filled?.number === number} onClick={() => onFill(number, any(one))}>
            {one.map((part, i) => (hasOptions(part) ? <i key={i}>{part.name || part.options.slice(0, 2).join(" / ")}{part.options.length > 2 && !part.name && " …"}</i> : <span key={i}>{part.text}</span>))}
          </button>
        ))}
      </div>
      {parts.some(hasOptions) && (
        <div className="slots">
          {parts.map((part, i) => hasOptions(part) && (
            <label key={i}>
              <span>{part.name || t("share.visit.choice")}</span>
              {part.options.length > 0
                ? <select value={filled?.chosen[i]} onChange={(event) => set(i, event.currentTarget.value)}>{part.options.map((one) => <option key={one}>{one}</option>)}</select>
                : <input value={filled?.chosen[i] === "…" ? "" : filled?.chosen[i]} placeholder={t("share.visit.blank")} maxLength={80} onChange={(event) => set(i, event.currentTarget.value || "…")} />}
            </label>
          ))}
        </div>
      )}
    </fieldset>
  );
}

/** The limit that ends first. */
function Remaining({ about }: { about: About }) {
  const { t } = useTranslation();
  const first = [...about.left].sort((a, b) => a.left - b.left)[0];
  if (!first) return null;
  const text = first.period === "day" ? t("share.visit.leftToday", { count: first.left }) : t("share.visit.leftMonth", { count: first.left });
  return <p className="note">{text}</p>;
}

/** What is used up, and when there is more. */
function UsedUp({ limit }: { limit: Left }) {
  const { t, i18n } = useTranslation();
  const when = new Date(Date.now() + limit.reset * 1000);
  const text = limit.reset > 20 * 3600 ? when.toLocaleString(i18n.language, { dateStyle: "long", timeStyle: "short" }) : when.toLocaleTimeString(i18n.language, { timeStyle: "short" });
  return (
    <div className="message">
      <strong>{limit.whose === "share" ? t("share.visit.usedShare") : t("share.visit.usedYours", { count: limit.limit })}</strong>
      <p>{t("share.visit.more", { when: text })}</p>
    </div>
  );
}

function Why({ error }: { error: ShareError }) {
  const { t } = useTranslation();
  if (error.status === NO_ANSWER) return <>{t("share.visit.noAnswer")}</>;
  if (error.code === "too_many_at_once") return <>{t("share.visit.atOnce")}</>;
  if (error.status === 429) return <>{t("share.visit.tooMany")} {t("share.visit.waitSeconds", { count: error.retryAfter ?? 60 })}</>;
  if (error.code === "busy" || error.code === "stopping") return <>{t("share.visit.busy")}</>;
  if (error.code === "model_away") return <>{t("share.visit.away")}</>;
  if (error.code === "prompt_empty") return <>{t("share.visit.empty")}</>;
  if (error.code === "word_refused") return <>{t("share.visit.word", { word: error.message.replace(/ cannot be used here.*/, "").slice(1, -1) })}</>;
  return <>{t("share.visit.failed")}</>;
}
