import { Textarea } from "@mantine/core";
import { useRef } from "react";
import type { PromptPart } from "../../api/types";
import { partsOf } from "./usePromptReading";

interface Props {
  label: string;
  description?: string;
  placeholder?: string;
  minRows: number;
  value: string;
  parts: PromptPart[];
  onChange: (value: string) => void;
}

/** A field of a prompt whose brackets, weights and tags are highlighted: the same text lies behind it in colors. */
export function PromptField({ label, description, placeholder, minRows, value, parts, onChange }: Props) {
  const behind = useRef<HTMLDivElement>(null);
  return (
    <Textarea
      label={label} description={description} placeholder={placeholder} autosize minRows={minRows} maxRows={12} value={value} spellCheck={false}
      onChange={(event) => onChange(event.currentTarget.value)}
      onScroll={(event) => { if (behind.current) behind.current.scrollTop = event.currentTarget.scrollTop; }}
      classNames={{ input: "prompt-input", wrapper: "prompt-wrapper" }}
      leftSectionWidth={0}
      leftSection={
        <div ref={behind} className="prompt-behind" aria-hidden>
          {partsOf(value, parts).map((part, i) => <span key={i} data-kind={part.kind} style={tint(part)}>{part.text}</span>)}{"\n"}
        </div>
      }
    />
  );
}

/** The more a part weighs, the warmer is what lies behind it; what weighs less is cool. */
function tint({ weight, kind }: PromptPart): React.CSSProperties | undefined {
  if (weight === 1 || kind === "tag") return undefined;
  const share = Math.min(1, Math.abs(Math.log(Math.max(weight, 0.05)) / Math.log(2)));
  return { background: `color-mix(in srgb, var(${weight > 1 ? "--heavier" : "--lighter"}) ${Math.round(14 + 34 * share)}%, transparent)` };
}
