import { Stack, Table, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Figure } from "../compare/ScoreTable";

export type Question = "subject" | "better";
export interface Contender {
  name: string;
  picked: boolean;
  weights?: string;
  weight?: number;
  epoch?: number;
  images?: number;
  fidelity?: Figure;
  shown?: Figure;
}
export interface BlindTestState {
  contenders: Contender[];
  held_out: boolean;
  references: string[];
  results: { question: Question; first: string; second: string; votes: number; same: number; share: Figure }[];
}

export function useContenderName(): (one: Contender) => string {
  const { t } = useTranslation();
  return (one) => {
    if (one.name === "base") return t("runs.blind.base");
    const name = t("runs.blind.state", { epoch: one.epoch, strength: one.weight });
    return one.picked ? t("runs.blind.picked", { name }) : name;
  };
}

/** How often each was chosen, with its interval, beside what the judge says. */
export function Results({ test }: { test: BlindTestState }) {
  const { t } = useTranslation();
  const name = useContenderName();
  if (test.results.length === 0) return null;
  const find = (wanted: string) => test.contenders.find((one) => one.name === wanted);
  return (
    <>
      <Table.ScrollContainer minWidth={520} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
      <Table fz="sm" verticalSpacing={10}>
        <Table.Thead><Table.Tr><Table.Th>{t("runs.blind.compared")}</Table.Th><Table.Th>{t("runs.blind.yours")}</Table.Th><Table.Th>{t("runs.blind.judge")}</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {test.results.map((one) => {
            const [first, second] = [find(one.first), find(one.second)];
            if (!first || !second) return null;
            return (
              <Table.Tr key={`${one.question} ${one.first} ${one.second}`}>
                <Table.Td style={{ verticalAlign: "top" }}><Text size="sm" fw={600}>{name(second)}</Text><Text size="sm">{t("runs.blind.against", { name: name(first) })}</Text><Text size="xs" c="dimmed">{t(`runs.blind.questions.${one.question}`)}</Text></Table.Td>
                <Table.Td className="num" style={{ verticalAlign: "top" }}><Votes result={one} /></Table.Td>
                <Table.Td className="num" style={{ verticalAlign: "top" }}><Stack gap={4}>{[second, first].map((of) => of.fidelity && <Judged key={of.name} of={of} name={name(of)} />)}</Stack></Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
      </Table.ScrollContainer>
      <Text size="sm" c="dimmed">{t("runs.blind.chance")}</Text>
    </>
  );
}

function Votes({ result: { votes, same, share } }: { result: BlindTestState["results"][number] }) {
  const { t } = useTranslation();
  if (share.value === null || share.low === null || share.high === null) return <Text size="sm">{t("runs.blind.undecided", { count: same })}</Text>;
  const [value, low, high] = [share.value, share.low, share.high].map((one) => Math.round(100 * one));
  const verdict = share.low > 0.5 ? "more" : share.high < 0.5 ? "less" : "open";
  return (
    <>
      <Text size="sm"><b>{value} %</b> <Text span c="dimmed" size="sm">{t("runs.compare.from", { low, high })}</Text></Text>
      <div className="interval" aria-hidden>
        <span className="zero" style={{ left: "50%" }} />
        <span className="range" style={{ left: `${low}%`, right: `${100 - (high ?? 100)}%`, background: "var(--run-1)" }} />
        <span className="point" style={{ left: `${value}%`, background: "var(--run-1)" }} />
      </div>
      <Text size="xs" c="dimmed" mt={4}>{t("runs.blind.counted", { chosen: Math.round(share.value * share.n), count: votes - same })}{same > 0 && ` ${t("runs.blind.undecided", { count: same })}`}</Text>
      <Text size="sm" mt={4}>{t(`runs.blind.verdicts.${verdict}`)}</Text>
    </>
  );
}

function Judged({ of, name }: { of: Contender; name: string }) {
  const { t } = useTranslation();
  const says = (figure: Figure | undefined) => (figure?.value == null ? "–" : `${Math.round(100 * figure.value)} ${t("runs.compare.from", { low: Math.round(100 * (figure.low ?? 0)), high: Math.round(100 * (figure.high ?? 0)) })}`);
  return <Text size="sm">{name}<br /><Text span size="xs" c="dimmed">{t("runs.blind.fidelity", { figure: says(of.fidelity) })}<br />{t("runs.blind.shows", { figure: says(of.shown) })}</Text></Text>;
}
