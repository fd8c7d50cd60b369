import { Table } from "@mantine/core";
import { useTranslation } from "react-i18next";

export interface Together {
  triggers: string[];
  images: number;
}

const R = 74;
/** Centers of the circles, and where each area's number stands, by the triggers that meet there (bits). */
const LAYOUTS: Record<number, { width: number; height: number; circles: [number, number][]; areas: Record<number, [number, number]>; names: [number, number, "start" | "middle" | "end"][] }> = {
  1: { width: 320, height: 190, circles: [[160, 104]], areas: { 1: [160, 104] }, names: [[160, 18, "middle"]] },
  2: { width: 320, height: 190, circles: [[116, 104], [204, 104]], areas: { 1: [82, 104], 2: [238, 104], 3: [160, 104] }, names: [[96, 18, "middle"], [224, 18, "middle"]] },
  3: { width: 320, height: 284, circles: [[118, 104], [202, 104], [160, 176]], areas: { 1: [84, 90], 2: [236, 90], 4: [160, 214], 3: [160, 78], 5: [112, 152], 6: [208, 152], 7: [160, 128] }, names: [[92, 18, "middle"], [228, 18, "middle"], [160, 276, "middle"]] },
};

/** In how many images triggers meet: circles for up to three, a table for more. */
export function Venn({ words, together }: { words: string[]; together: Together[] }) {
  const { t } = useTranslation();
  const layout = LAYOUTS[words.length];
  if (!layout) return <Combinations words={words} together={together} />;
  const bits = (of: Together) => of.triggers.reduce((sum, word) => sum | (1 << words.indexOf(word)), 0);
  const counts = new Map(together.map((one) => [bits(one), one.images]));
  const says = together.map((one) => `${one.triggers.join(" + ") || t("runs.triggers.without")}: ${t("datasets.images", { count: one.images })}`).join("; ");
  return (
    <figure className="venn">
      <svg viewBox={`0 0 ${layout.width} ${layout.height}`} role="img" aria-label={says}>
        {layout.circles.map(([x, y], i) => <circle key={i} cx={x} cy={y} r={R} fill={`var(--run-${i + 1})`} fillOpacity={0.16} stroke={`var(--run-${i + 1})`} strokeWidth={2} />)}
        {layout.names.map(([x, y, anchor], i) => <text key={i} x={x} y={y} textAnchor={anchor} fill={`var(--run-${i + 1})`} fontWeight={650} fontSize={15}>{words[i]}</text>)}
        {Object.entries(layout.areas).map(([key, [x, y]]) => <text key={key} x={x} y={y + 5} textAnchor="middle" fill="currentColor" fontSize={counts.get(Number(key)) ? 17 : 14} fontWeight={counts.get(Number(key)) ? 650 : 400} opacity={counts.get(Number(key)) ? 1 : 0.65}>{counts.get(Number(key)) ?? 0}</text>)}
      </svg>
      <figcaption>{t("runs.triggers.vennText")}{(counts.get(0) ?? 0) > 0 && ` ${t("runs.triggers.withoutAny", { count: counts.get(0) ?? 0 })}`}</figcaption>
    </figure>
  );
}

function Combinations({ words, together }: { words: string[]; together: Together[] }) {
  const { t } = useTranslation();
  const most = Math.max(1, ...together.map((one) => one.images));
  return (
    <Table.ScrollContainer minWidth={120 + 70 * words.length} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
      <Table fz="sm">
        <Table.Thead><Table.Tr>{words.map((word) => <Table.Th key={word} ta="center">{word}</Table.Th>)}<Table.Th>{t("runs.triggers.images")}</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {together.map((one) => (
            <Table.Tr key={one.triggers.join()}>
              {words.map((word) => <Table.Td key={word} ta="center">{one.triggers.includes(word) ? <span className="dot" role="img" aria-label={t("runs.triggers.has")} /> : ""}</Table.Td>)}
              <Table.Td className="num"><div className="bar" style={{ width: `${(100 * one.images) / most}%`, minWidth: 4 }}><div style={{ width: "100%" }} /></div>{one.images}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
