import { useElementSize } from "@mantine/hooks";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, type ReactNode, useEffect, useRef } from "react";

interface Props {
  count: number;
  /** Least width of a cell in pixels. */
  cell: number;
  /** Height of a cell beyond its square, in pixels. */
  below?: number;
  label: string;
  onEnd?: () => void;
  /** The same function as long as it gives the same cells: then scrolling renders new rows alone. */
  children: (index: number) => ReactNode;
}

const GAP = 10;

/** A grid of squares of which only those in sight are in the document: ten thousand scroll as well as ten. */
export function VirtualGrid({ count, cell, below = 0, label, onEnd, children }: Props) {
  const { ref, width } = useElementSize();
  const holder = useRef<HTMLDivElement>(null);
  const columns = Math.max(2, Math.floor((width + GAP) / (cell + GAP)));
  const side = (width - GAP * (columns - 1)) / columns;
  const rows = useWindowVirtualizer({
    count: width ? Math.ceil(count / columns) : 0,
    estimateSize: () => side + below + GAP,
    overscan: 3,
    scrollMargin: holder.current?.offsetTop ?? 0,
    useFlushSync: false, // a frame is not held up by rows that are out of sight
  });
  useEffect(() => rows.measure(), [rows, side]);
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => {
    if (last >= 0 && (last + 1) * columns >= count) onEnd?.();
  }, [last, columns, count, onEnd]);
  return (
    <div ref={holder}>
      <div ref={ref} role="list" aria-label={label} style={{ position: "relative", height: rows.getTotalSize() }}>
        {items.map((row) => <Row key={row.index} first={row.index * columns} columns={columns} count={count} side={side} top={row.start - rows.options.scrollMargin} cellOf={children} />)}
      </div>
    </div>
  );
}

interface RowProps {
  first: number;
  columns: number;
  count: number;
  side: number;
  top: number;
  cellOf: (index: number) => ReactNode;
}

const Row = memo(function Row({ first, columns, count, side, top, cellOf }: RowProps) {
  return Array.from({ length: Math.min(columns, count - first) }, (_, column) => {
    const index = first + column;
    return (
      <div key={index} role="listitem" aria-setsize={count} aria-posinset={index + 1} style={{ position: "absolute", top: 0, width: side, contain: "layout style", transform: `translate(${column * (side + GAP)}px, ${top}px)` }}>
        {cellOf(index)}
      </div>
    );
  });
});
