import { ActionIcon, Group, Text, Tooltip, VisuallyHidden } from "@mantine/core";
import { IconArrowDown, IconArrowUp, IconGripVertical, IconPlayerPause } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type DragEvent, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { runsQuery } from "../../api/queries";
import type { Run } from "../../api/types";
import { ErrorState } from "../../components/States";
import { RunRow } from "./RunRow";

interface Move {
  name: string;
  /** From 1, the next one. */
  place: number;
  /** The button that moved it, to have the focus again. */
  button: "up" | "down" | null;
}

/** Trainings that wait, in their order: moved by drag or by buttons, and held back. */
export function Queue({ runs, canMove }: { runs: Run[]; canMove: boolean }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const holder = useRef<HTMLOListElement>(null);
  const [dragged, setDragged] = useState<string | null>(null);
  const [over, setOver] = useState<number | null>(null);
  const [moved, setMoved] = useState<Move | null>(null);
  const toFocus = useRef<Move | null>(null);
  const move = useMutation({
    mutationFn: ({ name, place }: Move) => post(`/runs/${encodeURIComponent(name)}/move`, { place }),
    onMutate: async (wanted) => {
      await client.cancelQueries({ queryKey: runsQuery.queryKey, exact: true });
      client.setQueryData(runsQuery.queryKey, (was) => was && { ...was, runs: reordered(was.runs, wanted) });
      setMoved(wanted);
      toFocus.current = wanted;
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["runs"] }),
  });
  const hold = useMutation({
    mutationFn: (name: string) => post(`/runs/${encodeURIComponent(name)}/stop`),
    onSettled: () => client.invalidateQueries({ queryKey: ["runs"] }),
  });
  useEffect(() => {
    const wanted = toFocus.current;
    if (!wanted?.button || runs[wanted.place - 1]?.name !== wanted.name) return;
    toFocus.current = null;
    const row = holder.current?.children[wanted.place - 1];
    const button = row?.querySelector<HTMLButtonElement>(`[data-move=${wanted.button}]`);
    (button?.disabled ? row?.querySelector<HTMLButtonElement>("[data-move]:not(:disabled)") : button)?.focus();
  }, [runs]);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    const from = runs.findIndex((run) => run.name === dragged);
    if (dragged !== null && over !== null && over !== from && over !== from + 1) move.mutate({ name: dragged, place: over > from ? over : over + 1, button: null });
    setDragged(null);
    setOver(null);
  };
  const dragOver = (event: DragEvent<HTMLElement>, i: number) => {
    if (dragged === null) return;
    event.preventDefault();
    const { top, height } = event.currentTarget.getBoundingClientRect();
    setOver(event.clientY < top + height / 2 ? i : i + 1);
  };
  return (
    <>
      <ErrorState error={move.error ?? hold.error} />
      <ol ref={holder} className="queue" onDrop={drop} aria-label={t("trainings.waiting")}>
        {runs.map((run, i) => (
          <li key={run.name} data-name={run.name} data-dragged={dragged === run.name || undefined} data-line={dragged !== null && over === i ? "above" : dragged !== null && over === runs.length && i === runs.length - 1 ? "below" : undefined}
            draggable={canMove && runs.length > 1} onDragStart={(event) => { event.dataTransfer.effectAllowed = "move"; event.dataTransfer.setData("text/plain", run.name); setDragged(run.name); }} onDragOver={(event) => dragOver(event, i)} onDragEnd={() => { setDragged(null); setOver(null); }}>
            {canMove && runs.length > 1 && <IconGripVertical size={18} className="grip" aria-hidden />}
            <div style={{ flex: 1, minWidth: 0 }}><RunRow run={run} /></div>
            {canMove && (
              <Group gap={4} wrap="nowrap">
                {runs.length > 1 && <Act label={t("runs.queue.up", { name: run.name })} move="up" disabled={i === 0} onClick={() => move.mutate({ name: run.name, place: i, button: "up" })}><IconArrowUp size={18} aria-hidden /></Act>}
                {runs.length > 1 && <Act label={t("runs.queue.down", { name: run.name })} move="down" disabled={i === runs.length - 1} onClick={() => move.mutate({ name: run.name, place: i + 2, button: "down" })}><IconArrowDown size={18} aria-hidden /></Act>}
                <Act label={t("runs.queue.hold", { name: run.name })} disabled={hold.isPending} onClick={() => hold.mutate(run.name)}><IconPlayerPause size={18} aria-hidden /></Act>
              </Group>
            )}
          </li>
        ))}
      </ol>
      {canMove && runs.length > 1 && <Text size="sm" c="dimmed" mt="xs" visibleFrom="sm">{t("runs.queue.text")}</Text>}
      <VisuallyHidden role="status">{moved ? t("runs.queue.moved", { name: moved.name, place: moved.place }) : ""}</VisuallyHidden>
    </>
  );
}

interface ActProps {
  label: string;
  move?: "up" | "down";
  disabled: boolean;
  onClick: () => void;
  children: React.ReactNode;
}

function Act({ label, move, disabled, onClick, children }: ActProps) {
  return <Tooltip label={label}><ActionIcon variant="default" size="lg" aria-label={label} disabled={disabled} onClick={onClick} {...(move ? { "data-move": move } : {})}>{children}</ActionIcon></Tooltip>;
}

/** Runs with one of the waiting ones at another place. */
function reordered(runs: Run[], { name, place }: Move): Run[] {
  const waiting = runs.filter((run) => run.state === "waiting").sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
  const one = waiting.find((run) => run.name === name);
  if (!one) return runs;
  const others = waiting.filter((run) => run !== one);
  const order = [...others.slice(0, place - 1), one, ...others.slice(place - 1)];
  return runs.map((run) => (run.state === "waiting" ? { ...run, place: order.findIndex((other) => other.name === run.name) + 1 } : run));
}
