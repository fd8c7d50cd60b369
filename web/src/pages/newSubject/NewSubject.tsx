import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { datasetQuery } from "../../api/queries";
import { PageHead } from "../../components/PageHead";
import { NameStep, type Subject } from "./NameStep";
import { PhotosStep } from "./PhotosStep";
import { PlanStep } from "./PlanStep";

const KEPT = "bakehouse.newSubject";

interface State {
  step: number;
  dataset: string | null;
  subject: Subject | null;
  /** Settings of the recipe that are the user's own, by dotted key. */
  settings: Record<string, unknown>;
}
const START: State = { step: 0, dataset: null, subject: null, settings: {} };

/** From photos to a training in three steps. Where one is outlives the tab. */
export function NewSubject() {
  const { t } = useTranslation();
  const [state, setState] = useState<State>(() => ({ ...START, ...(JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Partial<State>) }));
  const change = (next: Partial<State>) => setState((was) => ({ ...was, ...next }));
  const { isError } = useQuery({ ...datasetQuery(state.dataset ?? ""), enabled: state.dataset !== null });
  useEffect(() => localStorage.setItem(KEPT, JSON.stringify(state)), [state]);
  useEffect(() => {
    if (isError) setState(START); // removed meanwhile
  }, [isError]);
  const steps = [t("new.photos"), t("new.name"), t("new.plan")];
  return (
    <div className="page" style={{ maxWidth: 860 }}>
      <PageHead title={t("new.title")} />
      <ol className="steps" aria-label={t("new.steps")}>
        {steps.map((label, i) => (
          <li key={label} aria-current={i === state.step ? "step" : undefined}><span className="disc" aria-hidden>{i + 1}</span>{label}</li>
        ))}
      </ol>
      {state.step === 0 && <PhotosStep dataset={state.dataset} onDataset={(dataset) => change({ dataset })} onNext={() => change({ step: 1 })} onOther={() => setState(START)} />}
      {state.step === 1 && state.dataset && (
        <NameStep dataset={state.dataset} subject={state.subject} onBack={() => change({ step: 0 })} onNext={(subject, dataset) => change({ subject, dataset, step: 2 })} />
      )}
      {state.step === 2 && state.dataset && state.subject && (
        <PlanStep dataset={state.dataset} subject={state.subject} settings={state.settings} onSettings={(settings) => change({ settings })} onBack={() => change({ step: 1 })} onStarted={() => setState(START)} />
      )}
    </div>
  );
}
