/** Means over the last steps, a twentieth of them all: single steps say little. */
export function smoothed(values: (number | null)[]): (number | null)[] {
  const share = 1 - 1 / Math.max(1, values.length / 20);
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = share * mean + (1 - share) * value;
    weight = share * weight + (1 - share);
    return mean / weight;
  });
}
