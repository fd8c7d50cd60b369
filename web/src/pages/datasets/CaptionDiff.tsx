import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";

export interface CaptionChange {
  path: string;
  before: string | null;
  after: string;
}

type Part = { kind: "kept" | "gone" | "new"; text: string };

/** Captions before and after, as one line each: tags that go are struck through, new ones underlined. */
export function CaptionDiff({ changes, total }: { changes: CaptionChange[]; total: number }) {
  const { t } = useTranslation();
  return (
    <div className="diff" tabIndex={0} role="group" aria-label={t("runs.triggers.diff")}>
      {changes.map((one) => (
        <div key={one.path}>
          <Text size="xs" c="dimmed">{one.path}</Text>
          <Text size="sm" component="p" m={0}>
            {tagDiff(one.before ?? "", one.after).map((part, i) => <Shown key={i} part={part} isFirst={i === 0} />)}
          </Text>
        </div>
      ))}
      {total > changes.length && <Text size="sm" c="dimmed">{t("common.andMore", { count: total - changes.length })}</Text>}
    </div>
  );
}

function Shown({ part, isFirst }: { part: Part; isFirst: boolean }) {
  const text = part.kind === "gone" ? <del>{part.text}</del> : part.kind === "new" ? <ins>{part.text}</ins> : part.text;
  return <>{!isFirst && <span className="comma">, </span>}{text}</>;
}

/** The longest common sequence of tags, with what goes and what is new between. */
export function tagDiff(before: string, after: string): Part[] {
  const split = (text: string) => text.split(/[,\n]/).map((tag) => tag.trim()).filter(Boolean);
  const [a, b] = [split(before), split(after)];
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  const at = (i: number, j: number) => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) (common[i] as Uint16Array)[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  }
  const parts: Part[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      parts.push({ kind: "kept", text: a[i] ?? "" });
      i += 1;
      j += 1;
    } else if (i < a.length && (j >= b.length || at(i + 1, j) >= at(i, j + 1))) {
      parts.push({ kind: "gone", text: a[i] ?? "" });
      i += 1;
    } else {
      parts.push({ kind: "new", text: b[j] ?? "" });
      j += 1;
    }
  }
  return parts;
}
