import { Input, SegmentedControl } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { changeDraft, useDraft } from "./draft";

/** Sizes that the model was made for: three shapes of the same area; others are in the settings below. */
export function SizeChoice({ native }: { native: number }) {
  const { t } = useTranslation();
  const { width, height } = useDraft();
  const step = native >= 512 ? 64 : 8;
  const long = Math.round((native * 1.25) / step) * step;
  const short = Math.round((native * 0.8) / step) * step;
  const sizes: Record<string, [number | null, number | null]> = { square: [null, null], portrait: [short, long], landscape: [long, short] };
  const chosen = Object.entries(sizes).find(([, [w, h]]) => (w === width && h === height) || (w === null && width === native && height === native))?.[0];
  const data = [
    { value: "square", label: t("generate.square") },
    { value: "portrait", label: t("generate.portrait") },
    { value: "landscape", label: t("generate.landscape") },
    ...(chosen ? [] : [{ value: "own", label: `${width ?? native}×${height ?? native}` }]),
  ];
  return (
    <Input.Wrapper label={t("generate.shape")} labelElement="div">
      <SegmentedControl fullWidth size="sm" aria-label={t("generate.shape")} value={chosen ?? "own"} data={data} onChange={(value) => { const size = sizes[value]; if (size) changeDraft({ width: size[0], height: size[1] }); }} />
    </Input.Wrapper>
  );
}
