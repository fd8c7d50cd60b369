import { useTranslation } from "react-i18next";
import { chooseLanguage, type Language, LANGUAGES } from "../i18n";

export function Languages() {
  const { t, i18n } = useTranslation();
  return (
    <div className="languages" role="group" aria-label={t("settings.language")}>
      {Object.entries(LANGUAGES).map(([value, label]) => (
        <button key={value} type="button" lang={value} aria-pressed={i18n.language === value} onClick={() => void chooseLanguage(value as Language)}>{label}</button>
      ))}
    </div>
  );
}
