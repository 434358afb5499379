/** What is there before the first film: what the page does, and where to drop one. */
import { Icon, Mark } from "../icons";
import { choose } from "../files";
import { sample } from "../sample";
import { bundle, check, modelName } from "../state";
import { add } from "../work";

export function Welcome() {
  return (
    <section class="welcome" aria-labelledby="welcome-title">
      <div class="welcome-words">
        <h2 id="welcome-title">Outline the lungs in chest X-rays</h2>
        <p class="welcome-lead">
          Drop one film or a whole folder. The first outline appears by itself; a box or a click corrects it.
        </p>
      </div>
      <div class="drop">
        <Mark class="drop-mark" />
        <p class="drop-title">Drop films here</p>
        <p class="drop-kinds">PNG, JPEG or DICOM, as many as you like</p>
        <div class="drop-buttons">
          <button type="button" class="button button-main" onClick={choose}>
            <Icon name="plus" />
            Choose films
          </button>
          {sample.value && (
            <button type="button" class="button" onClick={() => sample.value && add([{ name: "phantom.png", file: sample.value }])}>
              Try a phantom film
            </button>
          )}
        </div>
      </div>
      <ul class="assurances">
        <li>
          <Icon name="lock" />
          <div>
            <h3>Films never leave this computer</h3>
            <p>They are read and outlined inside this browser. The page cannot send anything anywhere else.</p>
          </div>
        </li>
        <li>
          <Icon name={check.value && !check.value.ok ? "warning" : "check"} />
          <div>
            <h3>Checked at every start</h3>
            <p>{check.value?.sentence ?? "The model is opened and compared with a stored answer."}</p>
          </div>
        </li>
        <li>
          <Icon name="info" />
          <div>
            <h3>Research, not a medical device</h3>
            <p>
              {bundle.value
                ? `${modelName.value} outlines ${bundle.value.outlines}. ${bundle.value.licence}`
                : "No diagnosis and no treatment decision may rest on it."}
            </p>
          </div>
        </li>
      </ul>
    </section>
  );
}
