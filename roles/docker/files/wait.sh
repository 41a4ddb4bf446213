# wait.sh <container> <seconds>: 0 when it is healthy, or runs steadily where nobody says what healthy is.
name=$1
end=$(($(date +%s) + $2))
starts=0 steady=0 failures=0 before=
while [ "$(date +%s)" -lt "$end" ]; do
  set -- $(docker container inspect --format '{{.State.Running}} {{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{.State.StartedAt}} {{.State.Error}}' "$name")
  if [ "$3" != "$before" ]; then
    starts=$((starts + 1)) steady=0 before=$3
  fi
  case "$1 $2" in
    "true healthy") exit 0 ;;
    "true unhealthy")
      echo "is not healthy: $(docker container inspect --format '{{range .State.Health.Log}}{{.Output}}{{end}}' "$name" | grep . | tail -n 1)"
      exit 1
      ;;
    "true none")
      steady=$((steady + 1))
      if [ "$steady" -ge 6 ]; then
        exit 0
      fi
      ;;
    # Longer than systemd waits between two starts: what is said may be of the last one.
    "false "*)
      failures=$((failures + ${4:+1} + 0))
      if [ "$failures" -ge 12 ]; then
        shift 3
        echo "cannot start: $*"
        exit 1
      fi
      ;;
  esac
  if [ "$starts" -ge 4 ]; then
    echo "ends again and again"
    exit 1
  fi
  sleep 0.5
done
echo "is not healthy in time"
exit 1
