import { useTranslation } from "react-i18next";

/** Seconds as people say them: `12 minutes`, `3 hours`. */
export function useDuration(): (seconds: number) => string {
  const { i18n } = useTranslation();
  return (seconds) => {
    const [value, unit] = seconds < 90 ? [Math.max(1, Math.round(seconds)), "second"] : seconds < 5400 ? [Math.round(seconds / 60), "minute"] : [Math.round(seconds / 360) / 10, "hour"];
    return new Intl.NumberFormat(i18n.language, { style: "unit", unit: unit as string, unitDisplay: "long" }).format(value as number);
  };
}
