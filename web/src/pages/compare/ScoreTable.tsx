import { Table, Text } from "@mantine/core";
import type { TFunction } from "i18next";
import { useTranslation } from "react-i18next";
import { RunMark } from "./CompareRuns";

export interface Figure {
  value: number | null;
  low: number | null;
  high: number | null;
  n: number;
}
export interface Cell {
  weights: string;
  weight: number;
  epoch: number;
  images: number;
  fidelity: Figure;
  shown: Figure;
  kept: Figure;
  memorised?: Figure;
  broken?: Figure;
  drift: { points: Figure; shift: Figure };
}
export interface Scores {
  cells?: Cell[];
  pick?: { weights: string; weight: number };
  verdict?: { word: string; why: string };
}

const FIGURES = [
  { key: "fidelity", of: (cell: Cell) => cell.fidelity, times: 100 },
  { key: "shown", of: (cell: Cell) => cell.shown, times: 100 },
  { key: "kept", of: (cell: Cell) => cell.kept, times: 100 },
  { key: "drift", of: (cell: Cell) => cell.drift.points, times: 1 },
  { key: "shift", of: (cell: Cell) => cell.drift.shift, times: 1 },
  { key: "broken", of: (cell: Cell) => cell.broken, times: 100 },
] as const;

/** What an evaluation speaks of: the state that it picked, or without one the best of those with most images. */
export function cellOf(scores: Scores | null): Cell | null {
  const cells = scores?.cells ?? [];
  const picked = cells.find((cell) => cell.weights === scores?.pick?.weights && cell.weight === scores.pick.weight);
  const most = Math.max(...cells.map((cell) => cell.images));
  const best = cells.filter((cell) => cell.images === most).sort((a, b) => (b.fidelity.value ?? -1) - (a.fidelity.value ?? -1));
  return picked ?? best[0] ?? null;
}

/** Figures of evaluations beside each other, each with its 95 % interval on one scale. */
export function ScoreTable({ names, scores }: { names: string[]; scores: (Scores | null)[] }) {
  const { t } = useTranslation();
  const cells = scores.map(cellOf);
  if (cells.every((cell) => cell === null)) return <Text c="dimmed">{t("runs.compare.noScores")}</Text>;
  return (
    <>
      <Table.ScrollContainer minWidth={160 + 150 * names.length} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
      <Table fz="sm" verticalSpacing={10}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("runs.compare.figure")}</Table.Th>
            {names.map((name, i) => <Table.Th key={name}><span className="run-name"><RunMark number={i} />{name}</span><Text size="xs" c="dimmed" fw={400}>{stateOf(cells[i] ?? null, t)}</Text></Table.Th>)}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          <Table.Tr><Table.Th scope="row" fw={400}>{t("runs.compare.verdict")}</Table.Th>{scores.map((one, i) => <Table.Td key={i}><span className="sentence">{one?.verdict?.word ?? "–"}</span></Table.Td>)}</Table.Tr>
          {FIGURES.map(({ key, of, times }) => {
            const found = cells.map((cell) => (cell ? scaled(of(cell), times) : null));
            const ends = found.flatMap((one) => (one ? [one.low, one.high] : []));
            const range = [Math.min(0, ...ends), Math.max(1e-9, ...ends)] as const;
            return (
              <Table.Tr key={key}>
                <Table.Th scope="row" fw={400}><Text size="sm">{t(`runs.compare.figures.${key}`)}</Text><Text size="xs" c="dimmed">{t(`runs.compare.figureTexts.${key}`)}</Text></Table.Th>
                {found.map((one, i) => <Table.Td key={i} className="num">{one ? <Interval figure={one} range={range} number={i} /> : "–"}</Table.Td>)}
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
      </Table.ScrollContainer>
      <Text size="sm" c="dimmed" mt="sm">{t("runs.compare.intervals")}</Text>
    </>
  );
}

interface Shown {
  value: number;
  low: number;
  high: number;
}

function scaled(figure: Figure | undefined, times: number): Shown | null {
  if (figure?.value == null || figure.low === null || figure.high === null) return null;
  return { value: times * figure.value, low: times * figure.low, high: times * figure.high };
}

function Interval({ figure, range: [from, to], number }: { figure: Shown; range: readonly [number, number]; number: number }) {
  const { t } = useTranslation();
  const at = (value: number) => `${(100 * (value - from)) / (to - from)}%`;
  return (
    <>
      <Text size="sm" span fw={600}>{figure.value.toFixed(0)}</Text> <Text size="sm" span c="dimmed">{t("runs.compare.from", { low: figure.low.toFixed(0), high: figure.high.toFixed(0) })}</Text>
      <div className="interval" aria-hidden>
        {from < 0 && <span className="zero" style={{ left: at(0) }} />}
        <span className="range" style={{ left: at(figure.low), right: `calc(100% - ${at(figure.high)})`, background: `var(--run-${number + 1})` }} />
        <span className="point" style={{ left: at(figure.value), background: `var(--run-${number + 1})` }} />
      </div>
    </>
  );
}

function stateOf(cell: Cell | null, t: TFunction): string {
  return cell ? t("runs.compare.state", { epoch: cell.epoch, strength: cell.weight, count: cell.images }) : t("runs.compare.notEvaluated");
}
