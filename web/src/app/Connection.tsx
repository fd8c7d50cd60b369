import { Loader } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { queryClient } from "../api/queries";

/** Says when the server does not answer, and fetches everything again when it is back. */
export function ConnectionBanner() {
  const { t } = useTranslation();
  const { data: answers = true } = useQuery({
    queryKey: ["health"],
    queryFn: () => fetch("/health", { cache: "no-store" }).then((answer) => answer.ok, () => false),
    refetchInterval: (query) => (query.state.data === false ? 1_500 : 8_000),
    retry: false,
  });
  const before = useRef(true);
  useEffect(() => {
    if (answers && !before.current) void queryClient.invalidateQueries();
    before.current = answers;
  }, [answers]);
  return (
    <div role="status">
      {!answers && (
        <div className="banner">
          <Loader size={16} />
          {t("connection.lost")}
        </div>
      )}
    </div>
  );
}
