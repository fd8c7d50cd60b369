import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Sample } from "../../api/types";
import { RunMark } from "./CompareRuns";

/** Samples of the same number and seed: a row for each training, a column for each epoch. */
export function SamplesByEpoch({ names, samples, seeds }: { names: string[]; samples: Sample[][]; seeds: number[] }) {
  const { t } = useTranslation();
  const numbers = [...new Set(samples.flat().map((one) => one.number))].sort((a, b) => a - b);
  const epochs = [...new Set(samples.flat().map((one) => one.epoch))].sort((a, b) => a - b);
  if (numbers.length === 0) return <Text c="dimmed">{t("samples.none")}</Text>;
  return (
    <>
      {new Set(seeds).size > 1 && <Text mb="md" role="status">{t("runs.compare.otherSeeds", { seeds: names.map((name, i) => `${name}: ${seeds[i]}`).join(", ") })}</Text>}
      {numbers.map((number) => {
        const prompts = [...new Set(samples.flat().filter((one) => one.number === number).map((one) => one.prompt))];
        return (
          <div key={number} className="epochs" tabIndex={0} role="group" aria-label={prompts.join(" / ")}>
            <Text size="sm" c="dimmed" mb={6} style={{ position: "sticky", left: 0 }}>{prompts.join(" / ")}</Text>
            <table>
              <thead><tr><td />{epochs.map((epoch) => <th key={epoch} scope="col"><Text size="xs" c="dimmed" fw={400} className="num">{epoch === 0 ? t("runs.compare.before") : t("runs.compare.epoch", { epoch })}</Text></th>)}</tr></thead>
              <tbody>
                {names.map((name, i) => (
                  <tr key={name}>
                    <th scope="row"><span className="run-name"><RunMark number={i} /><Text size="xs" span truncate>{name}</Text></span></th>
                    {epochs.map((epoch) => {
                      const found = samples[i]?.findLast((one) => one.number === number && one.epoch === epoch);
                      return <td key={epoch}>{found ? <img src={found.url} alt={t("runs.compare.sampleOf", { name, epoch })} loading="lazy" width={112} height={112} /> : <div className="no-picture" aria-label={t("runs.compare.noSample")} role="img" />}</td>;
                    })}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        );
      })}
    </>
  );
}
