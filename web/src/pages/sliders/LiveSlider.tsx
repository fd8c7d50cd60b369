import { Button, Group, NumberInput, Slider as Control, Stack, Text, TextInput, Title } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconBrush, IconPlayerPlay } from "@tabler/icons-react";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { address, ApiError, NO_ANSWER, post } from "../../api/client";
import type { Slider } from "../../api/pages";
import { modelsQuery, useScope } from "../../api/queries";
import type { Model, Run } from "../../api/types";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState } from "../../components/States";
import { changeDraft } from "../generate/draft";

const WAIT_MS = 250;
const STEP = 0.1;

interface Props {
  run: Run;
  slider: Slider;
  strength: number;
  onChange: (strength: number) => void;
}

/** Draws at the chosen strength. The picture before stays until the next one is there. */
export function LiveSlider({ run, slider, strength, onChange }: Props) {
  const { t } = useTranslation();
  const mayDraw = useScope("draw");
  const client = useQueryClient();
  const { data: models = [] } = useQuery(modelsQuery);
  const model = models.find((one) => one.run === run.name);
  const offer = useMutation({
    mutationFn: () => post(`/runs/${encodeURIComponent(run.name)}/serve`),
    onSuccess: () => Promise.all([client.invalidateQueries({ queryKey: ["models"] }), client.invalidateQueries({ queryKey: ["runs"] })]),
  });
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("pages.sliders.live")}</Title>
      <div className="card">
        {!mayDraw && <Text c="dimmed">{t("generate.mayNot")}</Text>}
        {mayDraw && !model && (
          <Group justify="space-between">
            <Text c="dimmed" maw={520}>{t("pages.sliders.offerText")}</Text>
            <Button leftSection={<IconPlayerPlay size={17} aria-hidden />} onClick={() => offer.mutate()} loading={offer.isPending}>{t("pages.sliders.offer")}</Button>
          </Group>
        )}
        <ErrorState error={offer.error} />
        {mayDraw && model && <Stage model={model} slider={slider} strength={strength} onChange={onChange} />}
      </div>
    </section>
  );
}

interface Drawn {
  image: string;
  strength: number;
}

function Stage({ model, slider, strength, onChange }: { model: Model; slider: Slider; strength: number; onChange: (strength: number) => void }) {
  const { t, i18n } = useTranslation();
  const navigate = useNavigate();
  const [prompt, setPrompt] = useState(slider.prompts[0]?.target ?? "");
  const [seed, setSeed] = useState(slider.sample.seed ?? 1);
  const adapter = model.adapters[0]?.name ?? model.name;
  const tagged = `${prompt} <lora:${adapter}:${strength}>`.trim();
  const body = bodyOf(model, slider, tagged, seed);
  const [asked] = useDebouncedValue(JSON.stringify({ body, strength }), WAIT_MS);
  const picture = useQuery({
    queryKey: ["live", asked],
    queryFn: ({ signal }) => drawn(asked, signal),
    placeholderData: keepPreviousData, // the frame before
    staleTime: Infinity,
    gcTime: 120_000,
    retry: false,
  });
  const number = (value: number) => value.toLocaleString(i18n.language, { maximumFractionDigits: 2 });
  const [lowest, highest] = [slider.places[0]?.strength ?? slider.low, slider.places.at(-1)?.strength ?? slider.high];
  const isLate = picture.isFetching || JSON.stringify({ body, strength }) !== asked;
  const marks = [...new Set([slider.low, 0, slider.high])].map((value) => ({ value, label: number(value) }));
  return (
    <div className="live">
      <div className="picture" style={{ aspectRatio: "1" }} aria-busy={isLate}>
        {picture.data && <img src={picture.data.image} alt={t("pages.sliders.pictureAt", { strength: number(picture.data.strength) })} />}
        <Text role="status" size="sm" className="live-status" data-shown={isLate || undefined}>{isLate ? t(model.state === "cold" && !picture.data ? "pages.sliders.loadingModel" : "pages.sliders.drawing") : ""}</Text>
      </div>
      <Stack gap="lg">
        <div>
          <Group justify="space-between" mb={4}><Text fw={500}>{t("pages.sliders.strength")}</Text><Text fz={24} fw={600} className="num">{number(strength)}</Text></Group>
          <Control styles={lowest < 0 ? { bar: { display: "none" } } : {}} min={lowest} max={highest} step={STEP} value={strength} onChange={(value) => onChange(Number(value.toFixed(2)))} marks={marks} label={null} thumbLabel={t("pages.sliders.strength")} mb={26} size="lg" />
          {(strength < slider.low || strength > slider.high) && <Text size="sm" c="var(--advice)" role="status">{t("pages.sliders.beyond")}</Text>}
          <Button size="compact-sm" variant="default" mt={6} onClick={() => onChange(slider.preferred)} disabled={strength === slider.preferred}>{t("pages.sliders.toPreferred", { strength: number(slider.preferred) })}</Button>
        </div>
        <Group align="flex-end" gap="xs">
          <TextInput style={{ flex: "1 1 200px" }} label={t("generate.prompt")} value={prompt} onChange={(event) => setPrompt(event.currentTarget.value)} />
          <NumberInput w={110} label={t("generate.seed")} min={0} max={4294967295} value={seed} onChange={(value) => setSeed(Number(value) || 0)} allowDecimal={false} />
        </Group>
        <ErrorState error={picture.error} onRetry={() => void picture.refetch()} />
        <Group gap="xs">
          <Button variant="default" leftSection={<IconBrush size={17} aria-hidden />} onClick={() => { changeDraft({ model: model.name, prompt, strengths: { [adapter]: strength }, seed }); void navigate({ to: "/generate" }); }}>{t("run.draw")}</Button>
          <ShowAsCode example={() => ({ command: `bakehouse generate runs/${slider.name} '${tagged.replaceAll("'", `'\\''`)}' --seed ${seed}`, method: "POST", path: "/draw", body })} />
        </Group>
      </Stack>
    </div>
  );
}

/** As the images of the range were drawn, so that equal seeds give equal pictures. */
function bodyOf(model: Model, slider: Slider, prompt: string, seed: number): object {
  const { steps, guidance, sampler, negative, size } = slider.sample;
  const [width, height] = size;
  return { model: model.name, prompt, seed, ...(negative ? { negative } : {}), ...(steps ? { steps } : {}), ...(guidance ? { guidance } : {}), ...(sampler ? { sampler } : {}), ...(width ? { width } : {}), ...(height ? { height } : {}) };
}

/** Closing the connection stops a picture that is not wanted any more. */
async function drawn(asked: string, signal: AbortSignal): Promise<Drawn> {
  const { body, strength } = JSON.parse(asked) as { body: object; strength: number };
  let answer: Response;
  try {
    answer = await fetch(address("/draw"), { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  } catch (failed) {
    if (signal.aborted) throw failed;
    throw new ApiError(NO_ANSWER, "no_answer", "", "");
  }
  const found = (await answer.json()) as { pictures: { image: string; media_type: string }[]; error?: { code: string; message: string; hint: string } };
  if (found.error) throw new ApiError(answer.status, found.error.code, found.error.message, found.error.hint);
  const first = found.pictures[0];
  return { image: `data:${first?.media_type};base64,${first?.image}`, strength };
}
