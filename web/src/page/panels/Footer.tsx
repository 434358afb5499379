/** The line that is always there: films stay here, this is research, which model runs and on what terms. */
import { Icon } from "../icons";
import { bundle, version } from "../state";

export function Footer() {
  const info = bundle.value;
  return (
    <footer class="footer">
      <p class="footer-main">
        <Icon name="lock" />
        <span>Films never leave this computer. Research, not a medical device.</span>
      </p>
      <p class="footer-model">
        {info && (
          <span>
            {info.name}: {info.licence}
          </span>
        )}
        <a href="./licences.txt" target="_blank" rel="noreferrer">
          Licences
        </a>
        {version.value && <span>{version.value}</span>}
      </p>
    </footer>
  );
}
